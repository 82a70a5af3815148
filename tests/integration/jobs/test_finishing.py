"""After the end of a job: results, late events and checkpoints, none of which waits for another."""

import asyncio
import time

from tests.integration.conftest import Bench
from tunehook.jobs import event_log, lifecycle, poller
from tunehook.jobs.finishing import GIVE_UP_SECONDS, LATE_EVENTS_SECONDS
from tunehook.model.job import Job, Stage
from tunehook.model.webhook import Endpoint
from tunehook.store.engine import keys
from tunehook.webhooks import event_types

RESULTS, EVENTS, CHECKPOINTS = r"/content$", r"/events$", r"/checkpoints$"


async def told_of_checkpoints(bench: Bench) -> str:
    """Somebody wants to know of each; the subscription's id."""
    endpoint = Endpoint(
        id="we_checkpoints",
        project="p",
        name="checkpoints",
        url="https://you.example/hooks",
        event_types=[event_types.CHECKPOINT],
        created_at=1,
        updated_at=1,
        secret="sealed",
        secret_hint="",
    )
    await bench.ctx.store.endpoints.add(endpoint, key_id="k", digest=endpoint.id)
    return endpoint.id


async def checkpoints_told(bench: Bench) -> int:
    return int(await bench.ctx.store.redis.zcard(keys.endpoint_deliveries("we_checkpoints")))


async def just_ended(bench: Bench) -> Job:
    """The look saw its end, and could not read its events."""
    job_id = await bench.accept()
    await bench.until_tracked(job_id)
    await bench.simulator.advance(3600)
    await bench.simulator.fault("http_500", path=EVENTS)
    await poller.poll(bench.ctx, "openai")
    record = await bench.read(job_id)
    assert record.job.stage is Stage.SETTLED
    assert await events_of(bench, job_id) == 0
    return record.job


async def events_of(bench: Bench, job_id: str) -> int:
    """How many of the upstream's are in the log."""
    entries, _ = await bench.ctx.store.job_log.page(job_id, after=None, limit=1000)
    return sum(entry.message.upstream_event_id is not None for entry in entries)


async def ended_before(bench: Bench, job: Job, seconds: float) -> None:
    record = await bench.read(job.id)
    assert record.job.settled_at
    long_ago = record.job.model_copy(update={"settled_at": int(record.now - seconds)})
    await bench.ctx.store.commit(record.change(long_ago))


async def fetched(bench: Bench, job: Job) -> list[str]:
    return [(await bench.ctx.store.files.read(file_id, "p")).status for file_id in job.result_files.values()]


async def test_results_that_do_not_come_keep_neither_events_nor_checkpoints_waiting(bench: Bench) -> None:
    await told_of_checkpoints(bench)
    job = await just_ended(bench)
    await bench.simulator.fault("http_500", path=RESULTS, times=None)
    await lifecycle.advance(bench.ctx, job.id)
    assert await events_of(bench, job.id) > 3
    assert await checkpoints_told(bench) > 0
    assert await fetched(bench, job) == ["uploaded"]
    assert 0 < (await bench.due_in(f"job:{job.id}") or 0) <= 6
    await bench.simulator.clear_faults()
    project_events, revision = bench.ctx.store.project_events, (await bench.read(job.id)).revision
    position = await project_events.newest("p")
    await lifecycle.advance(bench.ctx, job.id)
    assert await fetched(bench, job) == ["processed"]
    assert job.id in [one.id for one in await project_events.after("p", position, 10)], "its curve has changed"
    assert (await bench.read(job.id)).revision == revision


async def test_events_that_do_not_come_keep_no_results_waiting(bench: Bench) -> None:
    await told_of_checkpoints(bench)
    job = await just_ended(bench)
    await bench.simulator.fault("http_500", path=EVENTS, times=None)
    await lifecycle.advance(bench.ctx, job.id)
    assert await fetched(bench, job) == ["processed"]
    assert await checkpoints_told(bench) > 0
    await ended_before(bench, job, GIVE_UP_SECONDS - 60)
    await lifecycle.advance(bench.ctx, job.id)
    assert await bench.due_in(f"job:{job.id}") is not None
    await ended_before(bench, job, GIVE_UP_SECONDS + 60)
    await lifecycle.advance(bench.ctx, job.id)
    assert await bench.due_in(f"job:{job.id}") is None


async def test_an_upstream_that_has_no_checkpoints_is_asked_to_the_end_and_no_further(bench: Bench) -> None:
    """Its jobs are over like any others: nothing is parked, and nothing is repeated for a day."""
    await told_of_checkpoints(bench)
    job = await just_ended(bench)
    member = f"job:{job.id}"
    await bench.simulator.fault("http_404", path=CHECKPOINTS, times=None)
    await lifecycle.advance(bench.ctx, job.id)
    assert await events_of(bench, job.id) > 3
    assert await fetched(bench, job) == ["processed"]
    assert 10 < (await bench.due_in(member) or 0) <= LATE_EVENTS_SECONDS + 1
    await ended_before(bench, job, LATE_EVENTS_SECONDS + 1)
    await lifecycle.advance(bench.ctx, job.id)
    assert await bench.due_in(member) is None
    assert await bench.ctx.store.parked() == []


async def test_checkpoints_are_told_though_the_job_changes_meanwhile(bench: Bench) -> None:
    """The last reading of them is at the same time as the commit of who asks the fresh model."""
    await told_of_checkpoints(bench)
    job_id = await bench.accept()
    job = (await bench.until_tracked(job_id)).job
    await bench.simulator.advance(3600)
    await bench.simulator.fault("delay", path=CHECKPOINTS, seconds=2)
    telling = asyncio.ensure_future(event_log.publish_checkpoints(bench.ctx, job))
    while not any("/checkpoints" in str(seen["path"]) for seen in await bench.simulator.requests()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # until it is asked for, and the job has been read
    record = await bench.read(job_id)
    await bench.ctx.store.commit(record.change(record.job.model_copy(update={"ready_at": int(time.time())})))
    await telling
    there = record.job.upstream_job_id
    answer = await bench.ctx.upstreams["openai"].checkpoints(str(there), after=None, limit=100)
    assert await checkpoints_told(bench) == len(answer["data"]) > 1
    assert (await bench.read(job_id)).job.ready_at, "what the other wrote was lost"
    await event_log.publish_checkpoints(bench.ctx, job)
    assert await checkpoints_told(bench) == len(answer["data"]), "each once"


async def test_a_result_file_that_its_owner_deletes_while_it_is_fetched_leaves_no_bytes(bench: Bench) -> None:
    job = await just_ended(bench)
    (file_id,) = job.result_files.values()
    storage = bench.ctx.files.storage
    save = storage.save

    async def _save(name: str, content: bytes) -> str:
        await bench.ctx.store.files.delete(file_id, "p")
        await storage.remove(file_id)
        await bench.ctx.store.files.left(file_id)
        return await save(name, content)

    storage.save = _save  # type: ignore[assignment, method-assign]
    await lifecycle.advance(bench.ctx, job.id)
    assert not await storage.exists(file_id)
