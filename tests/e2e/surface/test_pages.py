"""/openapi.json, /docs and /metrics; what files keep of `expires_after`."""

import json
import re
from typing import Any, cast

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.app import ROUTES
from tests.contract.checker import Contract
from tests.e2e.surface.conftest import Visitor
from tests.e2e.surface.test_following import ended, submitted
from tests.fakes.datasets import dataset


async def page(visitor: Visitor, path: str) -> tuple[str, str]:
    """Content type and text. No key is sent."""
    async with visitor.simulators["openai"]._session.get(f"{visitor.root}{path}") as answer:
        body = await answer.read()
        visitor.contract.check_response("GET", path, answer.status, answer.headers, body)
        return answer.headers.get("content-security-policy", ""), body.decode()


def test_routes_and_contract_are_one(contract: Contract) -> None:
    assert {(method, path) for method, path, *_ in ROUTES} == contract.operations()
    assert len(ROUTES) == len(set((method, path) for method, path, *_ in ROUTES))


async def test_openapi_json_is_the_contract(visitor: Visitor) -> None:
    _, text = await page(visitor, "/openapi.json")
    assert json.loads(text) == visitor.contract.document


async def test_docs_loads_nothing_from_elsewhere(visitor: Visitor) -> None:
    policy, text = await page(visitor, "/docs")
    assert "default-src 'none'" in policy
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert 'fetch("openapi.json")' in text


async def test_metrics_count_what_happens(visitor: Visitor) -> None:
    def value(text: str, name: str, **labels: str) -> float:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        raise AssertionError(f"no {name} {labels} in {text}")

    _, before = await page(visitor, "/metrics")
    job_id = await submitted(visitor)
    assert (await ended(visitor, job_id))["status"] == "succeeded"
    _, after = await page(visitor, "/metrics")
    settled = [value(text, "tunehook_jobs", stage="settled") for text in (before, after)]
    assert settled[1] >= settled[0] + 1
    assert value(after, "tunehook_clock_age_seconds") < 60
    assert value(after, "tunehook_live_jobs", upstream="openai") >= 0
    assert value(after, "tunehook_due", queue="steps") >= 0
    assert value(after, "tunehook_parked") == 0
    assert value(after, "process_resident_memory_bytes") > 1e6


async def test_files_keep_expires_after(visitor: Visitor) -> None:
    create = visitor.client.files.create
    file = await create(
        file=("train.jsonl", dataset()),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600
    assert (await visitor.client.files.retrieve(file.id)).expires_at == file.expires_at
    wrongs = [({"anchor": "created_at", "seconds": seconds}, "seconds") for seconds in (3599, 2592001)]
    for wrong, member in [*wrongs, ({"anchor": "now", "seconds": 3600}, "anchor")]:
        with pytest.raises(openai.BadRequestError) as caught:
            await create(file=("a", dataset()), purpose="fine-tune", expires_after=cast(Any, wrong))
        assert caught.value.param == f"expires_after.{member}"


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/files", "The base URL ends in /v1: GET /v1/files."),
        ("POST", "/fine_tuning/jobs", "The base URL ends in /v1: POST /v1/fine_tuning/jobs."),
        ("GET", "/fine_tuning/jobs/ftjob-1/events", "The base URL ends in /v1: "),
        ("GET", "/v1/v1/models", "The base URL has /v1 twice"),
        ("POST", "/v1/threads", "Models that were tuned here are asked by POST /v1/chat/completions or /v1/responses."),
        ("GET", "/v1/responses/resp_1", "Responses are passed on and not stored."),
        ("POST", "/responses", "The base URL ends in /v1: POST /v1/responses."),
        ("POST", "/v1/embeddings", "Send this to the upstream itself"),
        ("POST", "/v1/batches", "Batches are not served."),
        ("GET", "/v1/nothing", "`/docs` on this server lists what there is."),
        ("GET", "/nothing", "`/docs` on this server lists what there is."),
    ],
)
async def test_a_url_that_does_not_exist_is_answered_with_what_to_do(
    visitor: Visitor, method: str, path: str, said: str
) -> None:
    async with visitor.http.request(method, f"{visitor.root}{path}") as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (404, "unknown_url")
    assert error["message"].startswith(f"Unknown request URL: {method} {path}. ")
    assert said in error["message"]


async def test_an_unknown_parameter_is_answered_with_the_nearest(visitor: Visitor) -> None:
    async with visitor.http.get(f"{visitor.root}/v1/fine_tuning/jobs?limits=3") as answer:
        assert (await answer.json())["error"]["message"] == "Unknown parameter: 'limits'. Did you mean limit?"
    async with visitor.http.post(f"{visitor.root}/v1/fine_tuning/jobs/import", json={"upstream_job": "x"}) as answer:
        message = (await answer.json())["error"]["message"]
    assert message == "Unknown parameter: 'upstream_job'. Did you mean upstream_job_id?"
