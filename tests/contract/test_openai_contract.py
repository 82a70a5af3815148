"""Our contract beside OpenAI's own description of its API: every difference is meant, and has a reason here."""

import copy
import fnmatch
import json
from typing import Any

import pytest

from tests.contract.checker import Contract
from tests.contract.openai.trim import KEPT
from tests.contract.shapes import differences

THEIRS: dict[str, Any] = json.loads(KEPT.read_text("utf-8"))
JOB = "* /fine_tuning/jobs* answer"
#: Pattern of a difference → why it is so. Each must be found, and nothing else.
MEANT = {
    "POST /files body.purpose: not '*'": "datasets for fine-tuning are the only files that have a use here",
    "POST /uploads body.purpose: not '*'": "the same",
    "GET /models ?*: ours": "tuned models are kept for ever, so the list has pages",
    "GET /models answer.*: ours": "the same",
    "GET /models/{model} answer.tunehook: ours": "whether it is deployed",
    "GET /models/{model} answer.parent: ours": "the base of a tuned model, as servers of adapters say it",
    "POST /fine_tuning/jobs body.callback_url: ours": "where the webhook goes",
    "* body.tunehook: ours": "which upstream shall do it",
    "GET /fine_tuning/jobs/{fine_tuning_job_id} ?wait: ours": "for those without an inbound port",
    "GET /fine_tuning/jobs ?*: ours": "filters for people and their tools",
    f"{JOB}*.tunehook: ours": "where the job really is",
    f"{JOB}*.status: any string": "Azure has others, and an upstream may invent more: they are passed on as they are",
    f"{JOB}*.integrations[[][]].type: any string": "what an upstream answers is not ours to narrow",
    f"{JOB}*.method.reinforcement.grader: not always there": "the same",
    f"{JOB}*.hyperparameters.reasoning_effort: any string": "the same",
    "GET /fine_tuning/jobs/{fine_tuning_job_id}/events answer.data[[][]].type: any string": (
        "OpenAI itself sends a third, moderation_checks, which it does not describe"
    ),
}


def found(ours: Any) -> list[str]:
    return differences(ours, THEIRS)


def test_every_difference_is_meant(contract: Contract) -> None:
    lines = found(contract.document)
    assert [line for line in lines if not any(fnmatch.fnmatchcase(line, pattern) for pattern in MEANT)] == []
    stale = [pattern for pattern in MEANT if not fnmatch.filter(lines, pattern)]
    assert stale == [], "these are differences no more"


def without(path: str) -> Any:
    def change(document: Any) -> None:
        *way, last = path.split("/")
        for step in way:
            document = document[step.replace("~", "/")]
        del document[last.replace("~", "/")]

    return change


def other(path: str, value: Any) -> Any:
    def change(document: Any) -> None:
        *way, last = path.split("/")
        for step in way:
            document = document[step.replace("~", "/")]
        document[last] = value

    return change


JOB_SCHEMA = "components/schemas/FineTuningJob"
REQUEST = "components/schemas/CreateFineTuningJobRequest"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without("paths/~v1~files/get"), "GET /files: not offered"),
        (without(f"{JOB_SCHEMA}/properties/seed"), "GET /fine_tuning/jobs answer.data[].seed: never there"),
        (other(f"{JOB_SCHEMA}/required", ["id"]), "POST /fine_tuning/jobs answer.model: not always there"),
        (other(f"{JOB_SCHEMA}/properties/cost", {"type": "number"}), "POST /fine_tuning/jobs answer.cost: ours"),
        (without(f"{REQUEST}/properties/suffix"), "POST /fine_tuning/jobs body.suffix: not taken"),
        (
            other(f"{REQUEST}/required", ["model", "training_file", "seed"]),
            "POST /fine_tuning/jobs body.seed: must be sent",
        ),
        (
            other("components/schemas/MethodRequest/properties/type/enum", ["supervised", "dpo"]),
            "POST /fine_tuning/jobs body.method.type: not 'reinforcement'",
        ),
        (
            other("components/schemas/FileObject/properties/status/enum", ["uploaded", "lost"]),
            "GET /files/{file_id} answer.status: also 'lost'",
        ),
        (
            other("components/parameters/Limit20/schema", {"type": "integer", "default": 10}),
            "GET /fine_tuning/jobs ?limit: default 10, not 20",
        ),
    ],
)
def test_a_new_difference_would_be_found(contract: Contract, change: Any, line: str) -> None:
    document = copy.deepcopy(contract.document)
    change(document)
    assert line in found(document)
    assert line not in found(contract.document)
