"""What reading the core with hostile eyes found: each race and each crash point, forced on a real Redis."""

import asyncio
from dataclasses import replace

import pytest
from redis.exceptions import ResponseError

from tests.fakes.datasets import dataset
from tests.fakes.ports import free_port
from tests.integration.conftest import Bench
from tunehook.errors import Conflict, LeaseTaken, RecordTooNew, RecordUnreadable, StoreUnavailable
from tunehook.jobs import commands, copy_step, cost, lifecycle, poller, tracking
from tunehook.model.file import Dataset
from tunehook.model.job import Stage
from tunehook.model.member import copy_member
from tunehook.store.engine import keys
from tunehook.store.engine.lease import ended
from tunehook.store.job_index import JobFilter
from tunehook.store.store import Store

FAR = 600.0


async def test_a_wake_up_during_a_step_outlives_what_the_step_plans(bench: Bench) -> None:
    store, member = bench.ctx.store, "job:ftjob-x"
    async with store.lease(member):
        await store.wake(member)
        await store.plan(member, FAR)
        assert await bench.due_in(member) <= 0  # type: ignore[operator]


async def test_a_wake_up_that_found_the_lease_taken_comes_again_when_it_is_given_back(bench: Bench) -> None:
    store, member = bench.ctx.store, "job:ftjob-x"
    async with store.lease(member):
        await store.plan(member, FAR)
        await store.wake(member)
        assert member in await bench.claim()
        with pytest.raises(LeaseTaken):
            async with store.lease(member):
                raise AssertionError("two at once")
        assert (await bench.due_in(member) or 0) > 1
    assert await bench.due_in(member) <= 0  # type: ignore[operator]


async def test_jobs_that_share_a_step_end_alone_with_their_errors(bench: Bench) -> None:
    file = await bench.file()
    good = [await bench.accept(file) for _ in range(3)]
    await bench.until_tracked(await bench.accept(file))  # the dataset's copy is there
    await bench.ctx.store.redis.set(keys.job("ftjob-broken"), "no record")
    for _ in range(2):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await lifecycle.advance_all(bench.ctx, [good[0], "ftjob-broken", *good[1:]])
    assert [(await bench.read(job_id)).job.stage for job_id in good] == [Stage.TRACKED] * 3


async def test_jobs_that_share_a_step_say_nothing_of_a_redis_that_is_away(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with Store.connect(f"redis://127.0.0.1:{free_port()}/0") as away:
        with pytest.raises(StoreUnavailable):
            await lifecycle.advance_all(replace(bench.ctx, store=away), ["ftjob-a", "ftjob-b"])
    assert caplog.records == [], "the scheduler has one line for it"


async def test_what_nobody_woke_keeps_its_time_when_a_lease_is_given_back(bench: Bench) -> None:
    store, member = bench.ctx.store, "job:ftjob-x"
    async with store.lease(member):
        await store.plan(member, FAR)
    assert (await bench.due_in(member) or 0) > FAR - 5


async def test_a_lease_whose_holder_died_is_looked_at_again_when_it_ends(bench: Bench) -> None:
    store, member = bench.ctx.store, "job:ftjob-x"
    await store.plan(member, 0)
    await store.redis.set(keys.lease(member), "of somebody dead", px=4000)
    for _ in range(3):  # each claim in vain would double the pause
        assert member in await bench.claim()
        with pytest.raises(LeaseTaken):
            async with store.lease(member):
                raise AssertionError("two at once")
        assert 3 < (await bench.due_in(member) or 0) < 4.2
        await store.redis.zadd(keys.due("steps"), {member: 0})
    assert await store.redis.hget(keys.CLAIMS, member) is None


async def test_three_claims_in_vain_are_twenty_seconds_apart_and_then_the_pause_doubles(bench: Bench) -> None:
    store, member = bench.ctx.store, "job:ftjob-x"
    pauses = []
    for _ in range(5):
        await store.redis.zadd(keys.due("steps"), {member: 0})
        await bench.claim()
        pauses.append(round(await bench.due_in(member) or 0))
    assert pauses == [20, 20, 20, 40, 80]


async def test_twenty_claims_in_vain_park_a_job_and_never_a_look(bench: Bench) -> None:
    store = bench.ctx.store
    for _ in range(21):
        await store.redis.zadd(keys.due("steps"), {"job:ftjob-x": 0})
        await store.redis.zadd(keys.due("polls"), {"look:openai": 0})
        jobs, polls = await store.claim("steps", 10), await store.claim("polls", 10)
    assert (jobs.parked, jobs.members) == (["job:ftjob-x"], [])
    assert (polls.parked, polls.members) == ([], ["look:openai"])
    assert round(await bench.due_in("look:openai") or 0) == 20
    await store.wake("job:ftjob-x")
    assert "job:ftjob-x" in (await store.claim("steps", 10)).members


async def test_a_cancel_while_the_job_is_being_created_is_not_forgotten(bench: Bench) -> None:
    job_id = await bench.accept(simulate="stall")
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await bench.simulator.fault("delay", path="/fine_tuning/jobs$", method="POST", seconds=2)
    creating = asyncio.ensure_future(lifecycle.advance(bench.ctx, job_id))
    while (await bench.read(job_id)).intent_ms is None:  # noqa: ASYNC110  it happens in Redis
        await asyncio.sleep(0.01)
    await commands.cancel(bench.ctx, job_id, "p")
    await creating
    assert await bench.due_in(f"job:{job_id}") <= 0  # type: ignore[operator]
    await lifecycle.advance(bench.ctx, job_id)
    assert (await bench.read(job_id)).job.status == "cancelled"
    assert [job["status"] for job in await bench.simulator.jobs()] == ["cancelled"]


async def test_a_record_of_a_newer_version_is_left_alone_and_stays_due(bench: Bench) -> None:
    job_id = await bench.accept()
    before = await bench.read(job_id)
    redis, name = bench.ctx.store.redis, keys.job(job_id)
    await redis.hset(name, "v", "99")
    stored = await redis.hgetall(name)
    for _ in range(25):
        await redis.zadd(keys.due("steps"), {f"job:{job_id}": 0})
        assert f"job:{job_id}" in await bench.claim()
        await lifecycle.advance(bench.ctx, job_id)
        assert 4 < (await bench.due_in(f"job:{job_id}") or 0) <= 5
    assert await redis.hgetall(name) == stored
    with pytest.raises(RecordTooNew):
        await bench.ctx.store.commit(before.change(before.job))
    with pytest.raises(Conflict):
        await commands.cancel(bench.ctx, job_id, "p")
    assert (await bench.ctx.store.jobs.page("p", after=None, limit=10, wanted=JobFilter()))[0] == []


async def test_an_unreadable_record_is_parked_and_hides_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = await bench.accept(), await bench.accept()
    await bench.until_tracked(good)
    await bench.until_tracked(bad)
    await bench.ctx.store.redis.hset(keys.job(bad), "doc", '{"id": 7}')
    with pytest.raises(RecordUnreadable):
        await bench.read(bad)
    await bench.ended(good)
    await lifecycle.advance(bench.ctx, bad)
    assert await bench.due_in(f"job:{bad}") is None
    assert await bench.ctx.store.redis.zscore(keys.PARKED, f"job:{bad}")
    assert f"job:{bad} is parked" in caplog.text
    listed, _ = await bench.ctx.store.jobs.page("p", after=None, limit=10, wanted=JobFilter())
    assert [record.job.id for record in listed] == [good]


async def test_a_job_that_waits_for_a_slot_says_its_place(bench: Bench) -> None:
    jobs = [await bench.accept() for _ in range(3)]
    redis = bench.ctx.store.redis
    await redis.zadd(keys.waiting("openai"), {job_id: place for place, job_id in enumerate(jobs[:2])})
    for job_id in jobs:
        await lifecycle.advance(bench.ctx, job_id)
        await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    for job_id, said in ((jobs[1], "1 job waits"), (jobs[2], "2 jobs wait")):
        await lifecycle.advance(bench.ctx, job_id)
        waiting = (await bench.read(job_id)).job.waiting
        assert waiting is not None
        assert (waiting.code, waiting.reason) == ("no_slot", f"{said} for a slot before this one.")


async def test_a_parked_job_at_the_head_of_the_queue_holds_up_nobody(bench: Bench) -> None:
    first, second = await bench.accept(), await bench.accept()
    store = bench.ctx.store
    for job_id in (first, second):
        await store.redis.zadd(keys.waiting("openai"), {job_id: 1 if job_id == first else 2})
    waiting = (await bench.read(second)).job
    assert await store.upstreams.waits_behind(waiting)
    await store.park(f"job:{first}")
    assert not await store.upstreams.waits_behind(waiting)
    assert await store.upstreams.next_waiting("openai") == second


async def test_a_look_that_fails_plans_the_next(bench: Bench) -> None:
    await bench.until_tracked(await bench.accept())
    await bench.simulator.fault("http_500", path="/fine_tuning/jobs")
    await poller.poll(bench.ctx, "openai")
    assert 25 < (await bench.due_in("look:openai") or 0) <= 30


async def test_an_upload_that_lost_its_due_entry_is_asked_for_again_by_who_waits(bench: Bench) -> None:
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    copy = copy_member("openai", (await bench.read(job_id)).job.training.sha256)
    assert await bench.due_in(copy) is not None
    await bench.ctx.store.redis.zrem(keys.due("bulk"), copy)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.due_in(copy) is not None


async def test_an_upload_that_waits_for_its_time_is_not_hurried_by_who_waits(bench: Bench) -> None:
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    copy = copy_member("openai", (await bench.read(job_id)).job.training.sha256)
    await bench.ctx.store.plan(copy, FAR)
    await lifecycle.advance(bench.ctx, job_id)
    assert (await bench.due_in(copy) or 0) > FAR - 5


async def test_an_upload_that_nobody_wants_rests_unless_somebody_comes(bench: Bench) -> None:
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    job = (await bench.read(job_id)).job
    copy = copy_member("openai", job.training.sha256)
    await bench.ctx.store.copies.rest("openai", job.training.sha256)
    assert await bench.due_in(copy) is not None
    await commands.cancel(bench.ctx, job_id, "p")
    await copy_step.copy_to_upstream(bench.ctx, "openai", job.training.sha256)
    assert await bench.due_in(copy) is None
    assert await bench.simulator.requests() == []


async def test_all_who_wait_for_an_upload_go_on_when_it_ends_whenever_they_came(bench: Bench) -> None:
    file = await bench.file()
    first, second = await bench.accept(file), await bench.accept(file)
    await lifecycle.advance(bench.ctx, first)
    await bench.simulator.fault("delay", path="/files$", method="POST", seconds=2)
    uploading = asyncio.ensure_future(copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256))
    copies = bench.ctx.store.copies
    while not ((found := await copies.read("openai", file.sha256)) and found.copy.attempts):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # until it has read who waits, and sends
    await lifecycle.advance(bench.ctx, second)
    await uploading
    for job_id in (first, second):
        assert await bench.due_in(f"job:{job_id}") <= 0  # type: ignore[operator]


async def test_the_same_bytes_come_from_another_file_when_the_first_is_gone(bench: Bench) -> None:
    content = dataset()
    one, other = await bench.file(content), await bench.file(content)
    first, second = await bench.accept(one), await bench.accept(other)
    await lifecycle.advance(bench.ctx, first)
    await commands.cancel(bench.ctx, first, "p")
    await bench.ctx.files.storage.remove(one.id)
    await bench.until_tracked(second)


async def test_a_result_file_deleted_before_it_was_fetched_stops_nothing(bench: Bench) -> None:
    job_id = await bench.accept()
    await bench.until_tracked(job_id)
    record = await bench.ended(job_id)
    for file_id in record.job.result_files.values():
        await bench.ctx.store.files.delete(file_id, "p")
    await lifecycle.advance(bench.ctx, job_id)
    assert 10 < (await bench.due_in(f"job:{job_id}") or 0) < 20  # the late events are still to come
    for file_id in record.job.result_files.values():
        assert not await bench.ctx.store.redis.exists(keys.file(file_id))


async def test_a_copy_that_another_job_found_lost_is_sent_again(bench: Bench) -> None:
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    job = (await bench.read(job_id)).job
    await copy_step.copy_to_upstream(bench.ctx, "openai", job.training.sha256)
    await bench.ctx.store.redis.delete(keys.copy("openai", job.training.sha256))
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.UPLOADING
    await bench.until_tracked(job_id)


async def test_a_lost_file_that_another_job_sends_again_during_a_create_fails_no_job(bench: Bench) -> None:
    file, upstream = await bench.file(), bench.ctx.upstreams["openai"]
    first, second = await bench.accept(file), await bench.accept(file)
    for job_id in (first, second):
        await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
    copy = await bench.ctx.store.copies.read("openai", file.sha256)
    assert copy is not None
    assert copy.copy.upstream_file_id is not None
    await upstream.delete_file(copy.copy.upstream_file_id)
    await bench.simulator.fault("delay", path="/fine_tuning/jobs$", method="POST", seconds=2)
    slow = asyncio.ensure_future(lifecycle.advance(bench.ctx, first))
    while (await bench.read(first)).intent_ms is None:  # noqa: ASYNC110  it happens in Redis
        await asyncio.sleep(0.01)
    await bench.until_tracked(second)  # sends the file again
    await slow
    await bench.until_tracked(first)


async def test_a_create_of_unknown_outcome_is_not_given_up_when_its_upstream_is_not_configured(bench: Bench) -> None:
    job_id = await bench.accept(simulate="after_reset*1")
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await lifecycle.advance(bench.ctx, job_id)
    intent = (await bench.read(job_id)).intent_ms
    assert intent is not None
    await lifecycle.advance(replace(bench.ctx, upstreams={}), job_id)
    record = await bench.read(job_id)
    assert (record.intent_ms, record.job.waiting and record.job.waiting.code) == (intent, "upstream_missing")
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1


@pytest.mark.parametrize("stage", ["accepted", "tracked"])
async def test_a_job_without_its_upstream_waits_where_it_is(bench: Bench, stage: str) -> None:
    job_id = await bench.accept()
    if stage == "tracked":
        await bench.until_tracked(job_id)
    await lifecycle.advance(replace(bench.ctx, upstreams={}), job_id)
    assert await bench.stage(job_id) == stage
    assert 50 < (await bench.due_in(f"job:{job_id}") or 0) <= 60


async def test_a_429_that_had_created_after_all_is_adopted_before_another_create(bench: Bench) -> None:
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await bench.simulator.fault("late_http_429", path="/fine_tuning/jobs$", method="POST", seconds=30)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.WAITING
    await bench.simulator.advance(60)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1


@pytest.mark.parametrize("fault", ["late_rate_limit_exceeded", "late_concurrent_jobs", "late_insufficient_quota"])
async def test_a_second_step_after_a_429_makes_no_earlier_create(bench: Bench, fault: str) -> None:
    """RQ may hold two steps of one job: both were enqueued before the first one ran."""
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await bench.simulator.fault(fault, path="/fine_tuning/jobs$", method="POST", seconds=30)
    for _ in range(2):
        await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.WAITING
    assert 9 < (await bench.due_in(f"job:{job_id}") or 0) <= 12
    await bench.simulator.advance(60)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1


async def without_a_slot(bench: Bench, fault: str, seconds: float) -> tuple[str, str]:
    """A job that is tracked, and one whose create was answered that there is no slot."""
    first, second = await bench.accept(), await bench.accept()
    await bench.until_tracked(first)
    await lifecycle.advance(bench.ctx, second)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(second)).job.training.sha256)
    await bench.simulator.fault(fault, path="/fine_tuning/jobs$", method="POST", seconds=seconds)
    await lifecycle.advance(bench.ctx, second)
    assert await bench.stage(second) is Stage.WAITING
    assert 55 < (await bench.due_in(f"job:{second}") or 0) <= 60
    return first, second


async def test_a_slot_that_opens_within_ten_seconds_of_its_429_brings_no_earlier_create(bench: Bench) -> None:
    """The job that the 429 hides is listed five seconds after it."""
    first, second = await without_a_slot(bench, "late_concurrent_jobs", 5)
    await commands.cancel(bench.ctx, first, "p")
    await lifecycle.advance(bench.ctx, first)
    assert await bench.stage(first) is Stage.SETTLED
    assert await bench.due_in(f"job:{second}") <= 0  # type: ignore[operator]
    await lifecycle.advance(bench.ctx, second)
    assert 5 < (await bench.due_in(f"job:{second}") or 0) <= 12
    await bench.simulator.advance(10)
    await lifecycle.advance(bench.ctx, second)
    assert await bench.stage(second) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 2


async def test_a_slot_that_opens_later_brings_a_create_at_once(bench: Bench) -> None:
    first, second = await without_a_slot(bench, "concurrent_jobs", 60)
    await bench.ten_seconds_after_429(second)
    await bench.ended(first)
    assert await bench.due_in(f"job:{second}") <= 0  # type: ignore[operator]
    await lifecycle.advance(bench.ctx, second)
    assert await bench.stage(second) is Stage.TRACKED


async def test_a_count_of_tokens_that_ends_after_a_429_brings_no_earlier_create(bench: Bench) -> None:
    """The job that the 429 hides may be listed only in ten seconds."""
    file = await bench.file()
    checked = file.model_copy(update={"dataset": Dataset(format="chat", examples=10, errors=0, warnings=0)})
    await bench.ctx.store.files.replace(checked)
    job_id = await bench.accept(checked)
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    await bench.simulator.fault("late_rate_limit_exceeded", path="/fine_tuning/jobs$", method="POST", seconds=30)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.WAITING
    due = keys.due("steps"), f"job:{job_id}"
    planned = await bench.ctx.store.redis.zscore(*due)
    assert planned is not None
    await cost.estimate_accepted(bench.ctx, job_id)
    assert (await bench.read(job_id)).job.estimate is not None
    assert await bench.ctx.store.redis.zscore(*due) == planned


async def test_an_extra_is_counted_and_told_once_however_often_it_is_found(bench: Bench) -> None:
    job_id = await bench.accept()
    record = await bench.until_tracked(job_id)
    assert record.job.seen is not None
    extra = record.job.seen.model_copy(update={"id": "ftjob-extra", "status": "succeeded"})
    for _ in range(3):
        await tracking.cancel_extra(bench.ctx, record.job, extra)
    assert await bench.ctx.store.redis.hget(keys.EXTRAS, "openai") == "1"
    entries, _ = await bench.ctx.store.job_log.page(job_id, after=None, limit=100)
    assert sum("extra job" in entry.message.message for entry in entries) == 1


async def test_a_full_redis_is_called_unavailable_and_keeps_what_it_has(bench: Bench) -> None:
    job_id = await bench.accept()
    redis = bench.ctx.store.redis
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable):
            await bench.accept()
    finally:
        await redis.config_set("maxmemory", 0)
    await bench.until_tracked(job_id)
    assert not list(await bench.forgotten())


async def test_a_lease_is_given_back_though_its_keeper_swallows_a_cancel() -> None:
    """As redis-py did once, between a timeout and the end of a connection."""
    rounds = 0

    async def _keep() -> None:
        nonlocal rounds
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                rounds += 1
                if rounds > 1:
                    raise

    keeper = asyncio.ensure_future(_keep())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await ended(keeper)
    assert (keeper.cancelled(), rounds) == (True, 2)
