"""GET /v1/summary, and the filters of the list as a client asks for them."""

from datetime import UTC, datetime

import pytest

from tests.integration.service.conftest import Api
from tunehook import api_keys
from tunehook.jobs import commands

JOBS = "/v1/fine_tuning/jobs"


async def other_key(api: Api) -> str:
    key, _ = await api_keys.create(api.ctx.store, api.ctx.webhooks.encryption, project="others", name="others")
    return key


async def test_a_summary_counts_one_project(furnished: Api) -> None:
    await furnished.ctx.store.upstreams.hold("openai", "rate_limit_exceeded", "No free slot.", 60)
    shown = (await furnished.call("GET", "/v1/summary")).json
    scopes = ["read", "write", "chat", "webhooks"]
    assert shown["key"] | {"id": ""} == {"id": "", "name": "tests", "project": "tests", "scopes": scopes}
    assert {stage: count for stage, count in shown["jobs"].items() if count} == {"accepted": 1}
    [openai] = shown["upstreams"]
    assert (openai["name"], openai["hold"]["code"], openai["training_ends"]) == (
        "openai",
        "rate_limit_exceeded",
        "2027-01-06",
    )
    assert shown["money"]["month"] == f"{datetime.now(UTC):%Y-%m}"
    await commands.cancel(furnished.ctx, furnished.ids["fine_tuning_job_id"], "tests")
    after = (await furnished.call("GET", "/v1/summary")).json["jobs"]
    assert {stage: count for stage, count in after.items() if count} == {"settled": 1}
    theirs = (await furnished.call("GET", "/v1/summary", key=await other_key(furnished))).json
    assert set(theirs["jobs"].values()) == {0}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("stage=accepted&status=validating_files&upstream=openai&model=gpt-4.1-mini-2025-04-14&q=MINI", 1),
        ("created_after=1&created_before=9999999999", 1),
        ("stage=waiting", 0),
        ("status=failed", 0),
        ("q=no%20such", 0),
        ("created_before=1", 0),
        ("metadata[a]=b&stage=accepted", 0),
        ("metadata=null&stage=accepted", 1),
    ],
)
async def test_the_list_takes_filters(furnished: Api, query: str, found: int) -> None:
    assert len((await furnished.call("GET", f"{JOBS}?{query}")).json["data"]) == found
    assert (await furnished.call("GET", f"{JOBS}?{query}", key=await other_key(furnished))).json["data"] == []


@pytest.mark.parametrize(
    ("query", "param", "says"),
    [
        ("stages=settled", "stages", "Did you mean stage?"),
        ("create_after=1", "create_after", "Did you mean created_after?"),
        ("stage=done", "stage", "it must be one of accepted"),
        ("status=suceeded", "status", "validating_files. Did you mean succeeded?"),
        ("stage=nowhere", "stage", "uploading, creating, waiting, tracked, settled."),
        ("created_after=yesterday", "created_after", "it must be a whole number"),
        ("q=", "q", "it must have 1 to 512 characters"),
        ("q=x&after=ftjob-unknown", "after", "it must be an id of this list"),
    ],
)
async def test_a_wrong_filter_is_named(furnished: Api, query: str, param: str, says: str) -> None:
    answer = await furnished.call("GET", f"{JOBS}?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)
    assert says in answer.error["message"]
