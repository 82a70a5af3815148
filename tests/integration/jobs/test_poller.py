"""A look: extras wherever they stand, news that one bad answer does not lose, and what makes a look happen."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import aiohttp

from tests.fakes.strange_upstream import strange_upstream
from tests.integration.conftest import MODEL, Bench
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.model.job import FileRef, Job, JobSpec, Stage, UpstreamJob

FAR = 600.0


async def elsewhere(bench: Bench, job_id: str, count: int = 1, tag: str | None = None) -> list[str]:
    """Jobs that are made at the upstream without us, on the file of one of ours; their ids there."""
    record = await bench.read(job_id)
    assert record.job.seen
    body: dict[str, object] = {"model": MODEL, "training_file": record.job.seen.training_file}
    if tag is not None:
        body["metadata"] = {"tunehook": tag, "simulate": "stall"}

    async def _make(session: aiohttp.ClientSession) -> str:
        async with session.post(f"{bench.simulator.base_url}/fine_tuning/jobs", json=body) as answer:
            answer.raise_for_status()
            return str((await answer.json())["id"])

    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-elsewhere"}) as session:
        return [await _make(session) for _ in range(count)]


async def status_there(bench: Bench, upstream_job_id: str) -> object:
    return next(job["status"] for job in await bench.simulator.jobs() if job["id"] == upstream_job_id)


async def asked(bench: Bench, path: str, since: int = 0) -> list[str]:
    return [str(seen["path"]) for seen in (await bench.simulator.requests())[since:] if path in str(seen["path"])]


async def test_an_extra_is_found_however_many_jobs_were_made_after_it(bench: Bench) -> None:
    """A day long, by its mark: a hundred other jobs push it from the first page."""
    job_id = await bench.accept(simulate="stall")
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await bench.simulator.fault("http_429", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(bench.ctx, job_id)
    await bench.ten_seconds_after_429(job_id)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    [extra] = await elsewhere(bench, job_id, tag=bench.ctx.tag((await bench.read(job_id)).job))
    await elsewhere(bench, job_id, 101)
    await poller.poll(bench.ctx, "openai")
    assert await status_there(bench, extra) == "cancelled"
    assert (await bench.read(job_id)).job.status is None
    before = len(await bench.simulator.requests())
    await poller.poll(bench.ctx, "openai")
    assert await asked(bench, "metadata", before) == [], "each is looked for every few minutes, not at each look"


async def test_what_a_page_says_is_written_though_the_next_does_not_come(bench: Bench) -> None:
    old = [await bench.accept() for _ in range(2)]
    for job_id in old:
        await bench.until_tracked(job_id)
    await elsewhere(bench, old[0], 100)
    new = await bench.accept()
    await bench.until_tracked(new)
    await bench.simulator.advance(3600)
    await bench.simulator.fault("delay", path="/fine_tuning/jobs$", method="GET", seconds=0)  # the first page comes
    await bench.simulator.fault("http_500", path="/fine_tuning/jobs$", method="GET")
    await poller.poll(bench.ctx, "openai")
    assert [await bench.stage(job_id) for job_id in (new, *old)] == [Stage.SETTLED, Stage.TRACKED, Stage.TRACKED]
    await poller.poll(bench.ctx, "openai")
    assert [await bench.stage(job_id) for job_id in old] == [Stage.SETTLED] * 2


async def test_one_job_that_cannot_be_read_singly_hides_no_other(bench: Bench) -> None:
    jobs = [await bench.accept() for _ in range(3)]
    for job_id in jobs:
        await bench.until_tracked(job_id)
    await bench.simulator.advance(3600)
    await bench.simulator.fault("list_lag", path="/fine_tuning/jobs$", method="GET", seconds=1e6, times=None)
    for fault in ("malformed", "http_404"):
        await bench.simulator.fault(fault, path="/fine_tuning/jobs/ftjob", method="GET")
    await poller.poll(bench.ctx, "openai")
    stages = sorted([await bench.stage(job_id) for job_id in jobs])
    assert stages == [Stage.SETTLED, Stage.TRACKED, Stage.TRACKED]
    await poller.poll(bench.ctx, "openai")
    assert [await bench.stage(job_id) for job_id in jobs] == [Stage.SETTLED] * 3


async def test_a_look_whose_time_is_over_is_gone_on_with_where_it_stopped(bench: Bench) -> None:
    old = [await bench.accept() for _ in range(2)]
    for job_id in old:
        await bench.until_tracked(job_id)
    others = await elsewhere(bench, old[0], 100)
    new = await bench.accept()
    await bench.until_tracked(new)
    await bench.simulator.advance(3600)
    await bench.simulator.fault("delay", path="/fine_tuning/jobs$", method="GET", seconds=0.3)
    before = len(await bench.simulator.requests())
    await poller.poll(bench.ctx, "openai", seconds=0.2)
    assert await asked(bench, "/jobs?", before) == ["/v1/fine_tuning/jobs?limit=100"]
    assert [await bench.stage(job_id) for job_id in (new, *old)] == [Stage.SETTLED, Stage.TRACKED, Stage.TRACKED]
    last_of_page = others[-99]

    before = len(await bench.simulator.requests())
    await poller.poll(bench.ctx, "openai")
    first, *_ = await asked(bench, "/jobs?", before)
    assert first == f"/v1/fine_tuning/jobs?limit=100&after={last_of_page}"
    assert [await bench.stage(job_id) for job_id in old] == [Stage.SETTLED] * 2


async def test_what_was_seen_before_a_look_stopped_is_not_looked_for_further_down(bench: Bench) -> None:
    """Else the looks that follow would wander through all that the organisation ever trained."""
    jobs = [await bench.accept(simulate="stall") for _ in range(7)]
    for job_id in jobs[:2]:
        await bench.until_tracked(job_id)
    await elsewhere(bench, jobs[0], 150)
    for job_id in jobs[2:]:
        await bench.until_tracked(job_id)
    await bench.simulator.fault("delay", path="/fine_tuning/jobs$", method="GET", seconds=0.3)
    await poller.poll(bench.ctx, "openai", seconds=0.2)  # sees the five young ones, and stops
    before = len(await bench.simulator.requests())
    await poller.poll(bench.ctx, "openai")
    assert len(await asked(bench, "/jobs?", before)) == 1
    assert [path for path in await asked(bench, "/jobs/ftjob", before) if "events" not in path] == []


async def test_single_questions_for_which_there_was_no_time_come_first_in_the_next_look(bench: Bench) -> None:
    jobs = [await bench.accept() for _ in range(3)]
    for job_id in jobs:
        await bench.until_tracked(job_id)
    there = sorted([str((await bench.read(job_id)).job.upstream_job_id) for job_id in jobs])
    await bench.simulator.fault("list_lag", path="/fine_tuning/jobs$", method="GET", seconds=1e6, times=None)
    await bench.simulator.fault("delay", path=f"/fine_tuning/jobs/{there[1]}", method="GET", seconds=0.4)
    before = len(await bench.simulator.requests())
    await poller.poll(bench.ctx, "openai", seconds=0.3)
    await poller.poll(bench.ctx, "openai")
    singly = await asked(bench, "/fine_tuning/jobs/ftjob", before)
    assert [path.rpartition("/")[2] for path in singly if "events" not in path] == there


async def test_a_tracked_job_hurries_no_look(bench: Bench) -> None:
    """Else each of ten thousand would cost a hundred pages."""
    first, second = await bench.accept(), await bench.accept()
    await bench.until_tracked(first)
    await bench.ctx.store.plan("look:openai", FAR)
    await bench.until_tracked(second)
    await lifecycle.advance(bench.ctx, first)  # as every six hours
    assert (await bench.due_in("look:openai") or 0) > FAR - 5


async def test_a_job_that_is_tracked_plans_a_look_where_there_is_none(bench: Bench) -> None:
    job_id = await bench.accept()
    await bench.ctx.store.unplan("look:openai")
    await bench.until_tracked(job_id)
    assert await bench.due_in("look:openai") is not None


async def test_a_job_that_had_ended_before_it_was_tracked_is_looked_at_now(bench: Bench) -> None:
    """The answer to its create was lost, and by the time that it was found, it had ended."""
    job_id = await bench.accept(simulate="after_reset*1")
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await lifecycle.advance(bench.ctx, job_id)
    await bench.ctx.store.plan("look:openai", FAR)
    await bench.simulator.advance(3600)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.due_in("look:openai") <= 0  # type: ignore[operator]
    await poller.poll(bench.ctx, "openai")
    assert await bench.stage(job_id) is Stage.SETTLED


async def live(bench: Bench, count: int) -> None:
    """Live jobs; of the upstream, they have the ids alone. Every second one is another project's."""
    store, changes = bench.ctx.store, []
    for number in range(count):
        seen = UpstreamJob(id=f"ftjob-theirs{number}", status="running")
        job = Job(
            id=f"ftjob-{number}",
            project="pq"[number % 2],
            key_id="k",
            created_at=int(time.time()),
            stage=Stage.TRACKED,
            spec=JobSpec(model=MODEL, training_file="upstream:file-1", seed=1),
            upstream="openai",
            training=FileRef(id="upstream:file-1", sha256="", bytes=0),
            upstream_job_id=seen.id,
            seen=seen,
        )
        changes.append(store.upstreams.track(store.jobs.submission(job), job, seen))
    await store.commit_many(changes)


async def followed(bench: Bench, count: int) -> None:
    """Live jobs whose events somebody reads at this moment."""
    await live(bench, count)
    await asyncio.gather(*(bench.ctx.store.job_log.follow(f"ftjob-{number}", 90) for number in range(count)))


async def test_who_follows_very_many_jobs_makes_no_look_endless(bench: Bench) -> None:
    """With a tenth of the shipped limits: what is at stake is that they hold, not how fast 260 requests are."""
    limits = (20, 5)
    await followed(bench, sum(limits) + 10)
    await poller.poll(bench.ctx, "openai", seconds=0, logs=limits)
    assert len(await asked(bench, "/events")) == sum(limits)


def ended(number: int, **members: Any) -> dict[str, Any]:
    return {"id": f"ftjob-theirs{number}", "status": "succeeded", "fine_tuned_model": f"ft:{number}", **members}


async def polled(bench: Bench, *rows: dict[str, Any]) -> None:
    async with strange_upstream() as strange:
        strange.answers["GET /fine_tuning/jobs"] = {"object": "list", "data": list(rows), "has_more": False}
        await poller.poll(replace(bench.ctx, upstreams={"openai": strange.upstream}), "openai")


async def test_many_that_end_at_once_are_all_written_in_one_poll(bench: Bench) -> None:
    await live(bench, 100)
    await polled(bench, *(ended(number) for number in range(100)))
    read = await bench.ctx.store.jobs.read_many([f"ftjob-{number}" for number in range(100)])
    assert [record.job.seen and record.job.seen.fine_tuned_model for record in read] == [f"ft:{n}" for n in range(100)]
    assert {(record.job.stage, record.revision) for record in read} == {(Stage.SETTLED, 2)}


async def test_a_model_that_many_name_at_once_belongs_to_the_first(bench: Bench) -> None:
    await live(bench, 60)
    same: dict[str, Any] = {"fine_tuned_model": "ft:same"}
    await polled(bench, *(ended(number, **(same if number else {})) for number in range(60)))
    assert await bench.ctx.store.models.owner("ft:same") == "q"
    assert await bench.ctx.store.models.find("ft:same", "q") is not None
    assert await bench.ctx.store.models.find("ft:same", "p") is None


async def test_a_job_that_one_page_shows_twice_ends_as_it_was_seen_first(bench: Bench) -> None:
    await live(bench, 40)
    rows = [ended(number, **more) for number in range(40) for more in ({}, {"status": "failed"})]
    await polled(bench, *rows)
    read = await bench.ctx.store.jobs.read_many([f"ftjob-{number}" for number in range(40)])
    assert {record.job.status for record in read} == {"succeeded"}
