"""GET /v1/events: what a follower is told, that nothing is missed over a break, and that nobody else is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.project_events import SHARED, FollowedProject
from tests.integration.service.conftest import Api
from tunehook import api_keys
from tunehook.model.job import Message
from tunehook.store.engine import keys

JOBS = "/v1/fine_tuning/jobs"
LONG = 60.0


class Stream:
    def __init__(self, content: Any) -> None:
        self._content = content

    async def next(self) -> tuple[str, str, Any]:
        """Returns id, name and data of the next event."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(LONG):
            while line := (await self._content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
        return fields["id"], fields["event"], json.loads(fields["data"])


@asynccontextmanager
async def following(api: Api, query: str = "", *, after: str = "", key: str = "") -> AsyncIterator[Stream]:
    headers = {"authorization": f"Bearer {key or api.key}"} | ({"last-event-id": after} if after else {})
    async with api.session.get(api.root + "/v1/events" + query, headers=headers) as answer:
        assert answer.status == 200, await answer.read()
        assert answer.headers["content-type"] == "text/event-stream"
        yield Stream(answer.content)


async def make(api: Api, name: str) -> str:
    body = {
        "model": "gpt-4.1-mini-2025-04-14",
        "training_file": api.ids["file_id"],
        "suffix": name,
        "callback_url": "http://127.0.0.1:9/hook",
    }
    return str((await api.post(JOBS, body))["id"])


async def test_changes_are_told_and_resumed_and_told_to_no_other_project(furnished: Api) -> None:
    key, _ = await api_keys.create(
        furnished.ctx.store, furnished.ctx.webhooks.encryption, project="others", name="others"
    )
    async with following(furnished) as stream, following(furnished, key=key) as foreign:
        first, name, _ = await stream.next()
        assert name == "ready"
        assert (await foreign.next())[1] == "ready"
        made = await make(furnished, "a")
        place, name, job = await stream.next()
        assert (name, job["id"], job["status"]) == ("job", made, "validating_files")
        cancelled = await furnished.post(f"{JOBS}/{made}/cancel", {})
        told = [await stream.next()]
        while told[-1][1] != "job" or told[-1][2]["status"] != cancelled["status"]:
            told.append(await stream.next())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await foreign.next()
    async with following(furnished, after=place) as again:
        assert (await again.next())[:2] == (place, "ready")
        assert await again.next() == told[-1] or told[-1][1:] in [(await again.next())[1:] for _ in told[1:]]
    await furnished.ctx.store.redis.xtrim(keys.project_events("tests"), maxlen=1, approximate=False)
    async with following(furnished, after=first) as reset:
        assert (await reset.next())[1] == "reset"
    async with following(furnished, after="99999999999999-0") as of_another_redis:
        assert (await of_another_redis.next())[1] == "reset"


async def test_logs_and_metrics_of_some_jobs_come_in_the_same_stream(furnished: Api) -> None:
    log, job = furnished.ctx.store.job_log, furnished.ids["fine_tuning_job_id"]

    def measured(step: int) -> Message:
        data = {"step": step, "train_loss": 0.5}
        return Message(created_at=1, message=f"Step {step}", type="metrics", data=data, upstream_event_id=f"e{step}")

    async with following(furnished, f"?jobs={job}") as stream:
        assert (await stream.next())[1] == "ready"
        await log.append(job, [measured(1), measured(2)])
        place, name, first = await stream.next()
        assert (name, first["fine_tuning_job_id"], first["event"]["data"]["step"]) == ("log", job, 1)
    await log.append(job, [measured(3)])
    async with following(furnished, f"?jobs={job}", after=place) as stream:
        assert (await stream.next())[1] == "ready"
        steps = [(await stream.next())[2]["event"]["data"]["step"] for _ in range(2)]
        assert steps == [2, 3]


async def test_what_cannot_be_followed_is_refused(furnished: Api) -> None:
    call = furnished.call
    five = ",".join(f"ftjob-{n}" for n in range(5))
    assert (await call("GET", f"/v1/events?jobs={five}")).error["param"] == "jobs"
    assert (await call("GET", "/v1/events?jobs=ftjob-unknown")).status == 404
    assert (await call("GET", "/v1/events?job=x")).error["message"].endswith("Did you mean jobs?")
    for wrong in ("x", "1-1;ftjob-1", "1-1;a=b", "99999999999999999999-0"):
        answer = await call("GET", "/v1/events", headers={"last-event-id": wrong})
        assert answer.error["param"] == "Last-Event-ID"


def test_a_follower_that_is_far_behind_is_not_served_from_memory() -> None:
    project = FollowedProject("5-0")
    rows = [(f"{number}-0", b"x") for number in range(6, 6 + 2 * SHARED)]
    for row in rows:
        project.add(row[0], [row])
    assert project.after("5-0") is None
    assert project.after(rows[-3][0]) == rows[-2:]
    assert project.after(project.newest) == []
