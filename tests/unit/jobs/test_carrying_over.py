"""The request of a retrain: what it takes over from its source job."""

from typing import Any

import pytest

from tunehook.jobs.carrying_over import request_of
from tunehook.model.job import FileRef, Job, JobSpec, Stage
from tunehook.openai_format.job_request import JobRequest
from tunehook.openai_format.request_model import parse_as
from tunehook.openai_format.retrains import RetrainRequest

SPEC: dict[str, Any] = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1", "seed": 1}


def body_of(asked: dict[str, Any] | None = None, *, spec: dict[str, Any] | None = None, **source: Any) -> Any:
    job = Job(
        id="ftjob-1", project="p", key_id="k", created_at=1, stage=Stage.ACCEPTED, upstream="openai",
        spec=JobSpec.model_validate(SPEC | (spec or {})), training=FileRef(id="file-1", sha256="0" * 64, bytes=1),
        **source,
    )  # fmt: skip
    wanted = RetrainRequest.model_validate({"model": "m", "upstream": "nebius"} | (asked or {}))
    body, _ = request_of(job, wanted, kind="nebius", source_kind="openai", lost_validation=None)
    parse_as(JobRequest, body)
    return body


@pytest.mark.parametrize(
    ("source", "carried"),
    [
        ({"deploy": False, "request_sha256": "0" * 64}, False),
        ({"deploy": True, "request_sha256": "0" * 64}, None),
        ({"deploy": False}, None),  # imported, after its end
    ],
)
def test_a_wish_not_to_deploy_is_taken_over(source: dict[str, Any], carried: bool | None) -> None:
    assert body_of(**source)["tunehook"].get("deploy") is carried


@pytest.mark.parametrize(
    ("spec", "asked", "epochs"),
    [
        ({}, {}, 4),
        ({"hyperparameters": {"n_epochs": "auto"}}, {}, 4),
        ({"hyperparameters": {"n_epochs": 2}}, {}, 2),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}}, {}, 4),
        ({}, {"hyperparameters": {"n_epochs": 3}}, 3),
        ({"hyperparameters": {"n_epochs": 2}}, {"hyperparameters": {"n_epochs": "auto"}}, 4),
    ],
)
def test_a_number_of_epochs_is_used_where_it_would_be_auto(
    spec: dict[str, Any], asked: dict[str, Any], epochs: int
) -> None:
    method = body_of(asked | {"n_epochs_if_auto": 4}, spec=spec)["method"]
    assert method[method["type"]]["hyperparameters"]["n_epochs"] == epochs
