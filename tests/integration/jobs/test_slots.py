"""Slots of an upstream go round the projects that wait; within one, in order of acceptance, low priority last."""

from dataclasses import replace

from tests.integration.conftest import Bench
from tunehook.jobs import copy_step, lifecycle
from tunehook.model.job import Stage
from tunehook.model.member import job_member, queue_of
from tunehook.store.engine import keys
from tunehook.store.upstreams import FREED_LEAST


async def queued(bench: Bench, project: str, *, low: bool = False) -> str:
    """A job that waits for a slot."""
    job_id = await bench.accept(project=project)
    record = await bench.read(job_id)
    job = record.job.model_copy(update={"priority": "low" if low else "normal"})
    await bench.ctx.store.commit(bench.ctx.store.upstreams.queue_up(record.change(job), job))
    return job_id


async def served(bench: Bench) -> str:
    """The next job, which gets a slot."""
    upstreams = bench.ctx.store.upstreams
    job_id = await upstreams.next_waiting("openai")
    assert job_id is not None
    record = await bench.read(job_id)
    assert await upstreams.waiting_before(record.job) == 0
    await bench.ctx.store.commit(upstreams.leave_queue(record.change(record.job), record.job, with_slot=True))
    return job_id


async def test_slots_go_round_the_projects_and_each_keeps_its_order(bench: Bench) -> None:
    jobs = {await queued(bench, project): project for project in "aaaaabbc"}
    order = [await served(bench) for _ in range(4)]
    assert sorted(jobs[job_id] for job_id in order[:3]) == ["a", "b", "c"]
    late = await queued(bench, "d")
    jobs[late] = "d"
    order += [await served(bench) for _ in range(5)]
    assert late in order[4:7], "a project that comes new waits for one turn of each other at most"
    for project in "ab":
        assert [job_id for job_id in order if jobs[job_id] == project] == [
            job_id for job_id in jobs if jobs[job_id] == project
        ]
    assert await bench.ctx.store.redis.keys("th:turns:slots:*") == []


async def test_the_place_in_line_is_the_order_in_which_slots_are_given(bench: Bench) -> None:
    for project in "aabcacbbba":
        await queued(bench, project)
    upstreams = bench.ctx.store.upstreams
    ids = await bench.ctx.store.redis.zrange(keys.waiting("openai"), 0, -1)
    places = {job_id: await upstreams.waiting_before((await bench.read(job_id)).job) for job_id in ids}
    assert sorted(places.values()) == list(range(10))
    order = [await served(bench) for _ in range(10)]
    assert order == sorted(places, key=lambda job_id: places[job_id])


async def test_low_priority_waits_behind_ones_own_jobs_only(bench: Bench) -> None:
    sweep = [await queued(bench, "a", low=True) for _ in range(2)]
    urgent = await queued(bench, "a")
    other = await queued(bench, "b")
    order = [await served(bench) for _ in range(4)]
    assert order in ([urgent, other, *sweep], [other, urgent, *sweep])


async def test_a_job_that_leaves_takes_no_turn_and_an_older_versions_queue_is_served(bench: Bench) -> None:
    first, second = await queued(bench, "a"), await queued(bench, "a")
    other = await queued(bench, "b")
    record = await bench.read(first)
    await bench.ctx.store.commit(bench.ctx.store.upstreams.leave_queue(record.change(record.job), record.job))
    gone = await queued(bench, "a")
    await bench.ctx.store.redis.zrem(keys.waiting("openai"), gone)  # by a version that knows no lines
    older = await bench.accept(project="z")
    await bench.ctx.store.redis.zadd(keys.waiting("openai"), {older: 1})
    assert [await served(bench) for _ in range(2)] == [second, other]
    assert await bench.ctx.store.upstreams.next_waiting("openai") == older


async def test_jobs_that_are_parked_hold_up_no_other_of_their_project(bench: Bench) -> None:
    for number in range(25):
        job_id = await queued(bench, "a")
        if number % 3:
            await bench.ctx.store.redis.zrem(keys.due(queue_of(job_member(job_id))), job_member(job_id))
        else:  # by a version that knows no lines
            await bench.ctx.store.redis.zrem(keys.waiting("openai"), job_id)
    good = await queued(bench, "a")
    for _ in range(2):
        await queued(bench, "b")
    upstreams = bench.ctx.store.upstreams
    first = await upstreams.next_waiting("openai")
    assert good in (first, await upstreams.next_waiting("openai", besides=first or ""))


async def test_a_likely_time_needs_a_history(bench: Bench) -> None:
    store = bench.ctx.store
    assert await store.upstreams.slot_expected("openai", 0, 1000) is None
    await store.redis.lpush(keys.slots_freed("openai"), *(600 + 100 * number for number in range(FREED_LEAST)))
    assert await store.upstreams.slot_expected("openai", 0, 1000) == 1100
    assert await store.upstreams.slot_expected("openai", 3, 1000) == 1400
    assert await store.upstreams.slot_expected("openai", 0, 5000) == 5000


async def test_slots_that_are_kept_free_are_not_used_once_their_number_is_known(bench: Bench) -> None:
    bench.ctx = replace(bench.ctx, free_slots={"openai": 1})
    tracked = [await bench.accept() for _ in range(2)]
    for job_id in tracked:
        await bench.until_tracked(job_id)
    await bench.ctx.store.redis.set(keys.slots("openai"), 3)
    third = await bench.accept()
    for _ in range(3):
        await lifecycle.advance(bench.ctx, third)
        await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(third)).job.training.sha256)
    job = (await bench.read(third)).job
    assert (job.stage, job.waiting and job.waiting.code) == (Stage.WAITING, "no_slot")
    assert "1 of its slots free" in str(job.waiting)
    await bench.ctx.store.redis.delete(keys.slots("openai"))
    await bench.until_tracked(third)


async def ready_to_create(bench: Bench, count: int) -> list[str]:
    """Jobs on one file, whose next step makes the create."""
    file = await bench.file()
    jobs = [await bench.accept(file) for _ in range(count)]
    await lifecycle.advance_all(bench.ctx, jobs)
    await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
    return jobs


async def test_creates_at_once_use_no_slot_that_is_kept_free(bench: Bench) -> None:
    bench.ctx = replace(bench.ctx, free_slots={"openai": 2})
    jobs = await ready_to_create(bench, 8)
    redis = bench.ctx.store.redis
    await redis.set(keys.slots("openai"), 6)
    await lifecycle.advance_all(bench.ctx, jobs)
    assert len(await bench.simulator.jobs()) == 4
    assert sorted([await bench.stage(job_id) for job_id in jobs]) == [Stage.TRACKED] * 4 + [Stage.WAITING] * 4
    assert await redis.zcard(keys.creates("openai")) == 0
    [first, *_] = [job_id for job_id in jobs if await bench.stage(job_id) is Stage.WAITING]
    await redis.set(keys.slots("openai"), 7)
    await bench.until_tracked(await bench.ctx.store.upstreams.next_waiting("openai") or first)
    assert len(await bench.simulator.jobs()) == 5


async def test_jobs_that_are_on_their_way_count_when_an_upstream_says_that_it_is_full(bench: Bench) -> None:
    bench.ctx = replace(bench.ctx, free_slots={"openai": 1})
    jobs = await ready_to_create(bench, 8)
    await bench.simulator.fault("concurrent_jobs", path="/fine_tuning/jobs$", method="POST", times=3)
    await lifecycle.advance_all(bench.ctx, jobs)
    assert 5 <= int(await bench.ctx.store.redis.get(keys.slots("openai")) or 0) <= 7


async def test_a_create_of_unknown_outcome_counts_as_a_job(bench: Bench) -> None:
    bench.ctx = replace(bench.ctx, free_slots={"openai": 1})
    lost, other = await ready_to_create(bench, 2)
    await bench.ctx.store.redis.set(keys.slots("openai"), 2)
    await bench.simulator.fault("after_reset", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(bench.ctx, lost)
    await lifecycle.advance(bench.ctx, other)
    assert await bench.stage(other) is Stage.WAITING
