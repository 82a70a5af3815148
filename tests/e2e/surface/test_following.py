"""Those without an inbound port: waiting for a job, and its events as a stream."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.e2e.surface.conftest import Visitor
from tests.fakes.datasets import dataset
from tests.fakes.patience import eventually

MODEL = "gpt-4.1-mini-2025-04-14"
ENDS = ("succeeded", "failed", "cancelled")


async def submitted(visitor: Visitor, simulate: str | None = None, model: str = MODEL) -> str:
    file = await visitor.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    metadata = {"simulate": simulate} if simulate else None
    return (await visitor.client.fine_tuning.jobs.create(training_file=file.id, model=model, metadata=metadata)).id


async def got(visitor: Visitor, path: str, **headers: str) -> tuple[int, Any]:
    async with visitor.http.get(f"{visitor.root}{path}", headers=headers) as answer:
        body = await answer.read()
        visitor.contract.check_response("GET", path, answer.status, answer.headers, body)
        return answer.status, json.loads(body) if body else None


async def ended(visitor: Visitor, job_id: str) -> dict[str, Any]:
    """The job at its end, by long polling."""
    path = f"/v1/fine_tuning/jobs/{job_id}?wait=30"
    _, found = await eventually(lambda: got(visitor, path), lambda answer: answer[1].get("status") in ENDS)
    job: dict[str, Any] = found
    return job


async def cancelled(visitor: Visitor, job_id: str) -> None:
    """Cancels a job. The answer waits three seconds for its end, which a slow machine does not reach."""
    await visitor.client.fine_tuning.jobs.cancel(job_id)
    assert (await ended(visitor, job_id))["status"] == "cancelled"


class Stream:
    """Server-sent events as a client reads them. `last` is what it would send as Last-Event-ID."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last = ""
        self.comments = 0

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        async for line in self.answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last = value
            elif name == "data":
                event: dict[str, Any] = json.loads(value)
                assert event["id"] == self.last
                yield event
            elif line.startswith(b":"):
                self.comments += 1


def stream(visitor: Visitor, job_id: str, last: str = "", seconds: float = 180.0) -> Any:
    headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
    limit = aiohttp.ClientTimeout(total=seconds)
    return visitor.http.get(f"{visitor.root}/v1/fine_tuning/jobs/{job_id}/events", headers=headers, timeout=limit)


async def test_waiting_ends_with_the_job_and_not_after_it(visitor: Visitor) -> None:
    job_id = await submitted(visitor)
    job = await ended(visitor, job_id)
    assert job["status"] == "succeeded"
    assert time.time() - job["finished_at"] < 25, "a poll of 30 s was not ended by the job's end"
    begun = time.monotonic()
    _, again = await got(visitor, f"/v1/fine_tuning/jobs/{job_id}?wait=60")
    assert again == job
    assert time.monotonic() - begun < 50, "a job that has ended is not waited for"


async def test_waiting_ends_when_its_time_is_over(visitor: Visitor) -> None:
    job_id = await submitted(visitor, "stall")
    begun = time.monotonic()
    _, job = await got(visitor, f"/v1/fine_tuning/jobs/{job_id}?wait=1")
    assert 0.9 < time.monotonic() - begun < 60
    assert job["status"] not in ENDS
    waiting = asyncio.create_task(ended(visitor, job_id))
    await visitor.client.fine_tuning.jobs.cancel(job_id)
    assert (await waiting)["status"] == "cancelled"


async def test_a_wrong_wait_is_refused(visitor: Visitor) -> None:
    job_id = await submitted(visitor, "stall")
    for text in ("61", "-1", "soon"):
        status, error = await got(visitor, f"/v1/fine_tuning/jobs/{job_id}?wait={text}")
        assert (status, error["error"]["param"]) == (400, "wait")
    await visitor.client.fine_tuning.jobs.cancel(job_id)


async def test_a_stream_tells_everything_once_in_order_and_goes_on_where_its_reader_left_off(visitor: Visitor) -> None:
    """One job for all of it: the last events of a job come seconds after its end, and streams go on until then."""
    job_id = await submitted(visitor)
    path = f"/v1/fine_tuning/jobs/{job_id}/events"

    async def one_reader() -> list[dict[str, Any]]:
        async with stream(visitor, job_id) as answer:
            visitor.contract.check_response("GET", path, answer.status, answer.headers, b"")
            return [event async for event in Stream(answer)]

    async def one_that_loses_the_connection() -> tuple[list[str], str]:
        seen: list[str] = []
        async with stream(visitor, job_id) as answer:
            reader = Stream(answer)
            async for event in reader:
                seen.append(event["id"])
                if len(seen) == 3:
                    break
        async with stream(visitor, job_id, last=reader.last) as answer:
            reader = Stream(answer)
            seen += [event["id"] async for event in reader]
        return seen, reader.last

    told, (seen, last) = await asyncio.gather(one_reader(), one_that_loses_the_connection())
    stored = [event async for event in visitor.client.fine_tuning.jobs.list_events(job_id, limit=100)][::-1]
    assert [event["id"] for event in told] == [event.id for event in stored] == seen
    assert [event["message"] for event in told] == [event.message for event in stored]
    assert told[0]["message"].startswith("Accepted")
    assert "successfully completed" in "".join(event["message"] for event in told), "the late events are missing"
    async with stream(visitor, job_id, last=last) as answer:
        assert answer.status == 204, "EventSource would ask for ever"


async def test_who_does_not_ask_for_a_stream_gets_a_list(visitor: Visitor) -> None:
    job_id = await submitted(visitor, "stall")
    path = f"/v1/fine_tuning/jobs/{job_id}/events"
    for accept in ("*/*", "application/json", "application/json, */*;q=0.5"):
        assert (await got(visitor, path, accept=accept))[1]["object"] == "list"
    status, error = await got(visitor, path, accept="text/event-stream", **{"last-event-id": "nonsense"})
    assert (status, error["error"]["param"]) == (400, "Last-Event-ID")
    await visitor.client.fine_tuning.jobs.cancel(job_id)
