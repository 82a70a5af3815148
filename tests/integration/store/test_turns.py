"""Projects take turns in the due queue: a burst of one delays no other, and nothing that is due is lost by it."""

from collections import Counter
from itertools import count

from tests.fakes.valkey import Valkey
from tests.integration.conftest import Bench
from tunehook.jobs import commands
from tunehook.model.file import File
from tunehook.model.member import Queue, check_member, copy_member, estimate_member, job_member, poll_member
from tunehook.store import upgrade
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking
from worker.scheduler import ENQUEUED, Scheduler, queues

BURST = 60
#: When members are due: two jobs may be accepted in one millisecond.
TIMES = count(1)


async def burst(bench: Bench, file: File, jobs: int, project: str) -> list[str]:
    members = [job_member(await bench.accept(file, project=project)) for _ in range(jobs)]
    await bench.ctx.store.redis.zadd(keys.due("steps"), {member: next(TIMES) for member in members})
    return members


async def claims_until(bench: Bench, member: str, queue: Queue = "steps") -> int:
    """How many members are claimed up to this one, one by one."""
    for claims in range(1, 10 * BURST):
        [claimed] = (await bench.ctx.store.claim(queue, 1)).members
        if claimed == member:
            return claims
    raise AssertionError(f"{member} is not claimed")


async def test_projects_take_turns_and_each_keeps_its_order(bench: Bench) -> None:
    file = await bench.file()
    first = await burst(bench, file, 5, "a")
    second = await burst(bench, file, 2, "b")
    [third] = await burst(bench, file, 1, "c")
    claimed: list[str] = []
    for limit in (1, 3, 0, 2, 10):
        claimed += (await bench.ctx.store.claim("steps", limit)).members
    project = {**dict.fromkeys(first, "a"), **dict.fromkeys(second, "b"), third: "c"}
    order = [project[member] for member in claimed]
    assert (sorted(order[:3]), sorted(order[3:5]), order[5:]) == (["a", "b", "c"], ["a", "b"], ["a"] * 3)
    assert [member for member in claimed if member in first] == first
    assert [member for member in claimed if member in second] == second


async def test_a_burst_delays_another_projects_step_by_one_turn_however_late_it_comes(bench: Bench) -> None:
    file = await bench.file()
    await burst(bench, file, BURST, "burst")
    for _ in range(3):
        assert len((await bench.ctx.store.claim("steps", 5)).members) == 5
        [late] = await burst(bench, file, 1, "p")
        assert await claims_until(bench, late) <= 2


async def test_a_cancel_waits_neither_behind_another_projects_burst_nor_behind_its_own(bench: Bench) -> None:
    file = await bench.file()
    cancelled = await bench.accept(file, project="burst")
    await bench.until_tracked(cancelled)
    for project in ("burst", "another"):
        await burst(bench, file, BURST, project)
    await bench.ctx.store.wake(job_member(cancelled))  # it stands in line behind its project's burst
    await bench.ctx.store.claim("steps", 1)
    await commands.cancel(bench.ctx, cancelled, "burst")
    assert await claims_until(bench, job_member(cancelled)) <= 3


async def test_polls_are_in_a_queue_of_their_own_and_nothing_of_a_burst_is_before_them_in_rq(
    bench: Bench, valkey: Valkey
) -> None:
    file = await bench.file()
    await burst(bench, file, BURST, "burst")
    with open_blocking(valkey.url) as connection:
        scheduler = Scheduler(bench.ctx.store, connection, ["openai"])
        await scheduler.enqueue_due("steps")
        await bench.ctx.store.wake_if_absent(poll_member("openai"))
        [late] = await burst(bench, file, 1, "p")
        for queue in ("steps", "polls"):
            await scheduler.enqueue_due(queue)
        waiting = queues(connection)
        assert [job.args for job in waiting["polls"].jobs] == [["openai"]]
        assert waiting["steps"].count == ENQUEUED["steps"] == 2
        for _ in range(2):  # a worker begins one
            assert waiting["steps"].pop_job_id()
            await scheduler.enqueue_due("steps")
        assert late.removeprefix("job:") in [job_id for job in waiting["steps"].jobs for job_id in job.args]


async def test_copies_checks_and_estimates_take_turns_too(bench: Bench) -> None:
    redis = bench.ctx.store.redis
    file = await bench.file()
    jobs = await burst(bench, file, BURST, "burst")
    await redis.zadd(keys.due("bulk"), {estimate_member(job.removeprefix("job:")): 0 for job in jobs})
    [job] = await burst(bench, file, 1, "waits for a copy")
    await redis.zrem(keys.due("bulk"), estimate_member(job.removeprefix("job:")))
    await redis.sadd(keys.copy_waiters("openai", "0" * 64), job.removeprefix("job:"))
    for member in (copy_member("openai", "0" * 64), check_member(file.id)):
        await bench.ctx.store.wake(member)
    assert len((await bench.ctx.store.claim("bulk", 3)).members) == 3
    left = await redis.zrangebyscore(keys.due("bulk"), "-inf", 0)
    assert len(left) == BURST - 1
    assert {member.partition(":")[0] for member in left} == {"estimate"}


async def test_what_stands_in_line_is_due_until_it_is_claimed_and_again_after_it(bench: Bench) -> None:
    store, file = bench.ctx.store, await bench.file()
    members = await burst(bench, file, 4, "p")
    assert (await store.claim("steps", 0)).wait == 0
    assert (await store.metrics.read([])).backlog["steps"] == 4
    for member in members:
        assert (await bench.due_in(member) or 0) < 0
        await store.wake(member)  # not later for that
    async with store.lease(members[0]):
        pass
    assert (await store.claim("steps", 10)).members == members
    for at, member in enumerate(members):
        assert 19 < (await bench.due_in(member) or 0) <= 20
        await store.redis.zadd(keys.due("steps"), {member: at})  # the claimant is dead, and 20 s are over
    assert (await store.claim("steps", 10)).members == members


async def test_a_member_without_a_record_or_of_a_newer_version_has_a_turn_of_its_own(bench: Bench) -> None:
    file = await bench.file()
    await burst(bench, file, BURST, "burst")
    strange = ["sweep:retention", "deploy:of-a-newer-version:1", "no-kind", "job:ftjob-deleted"]
    await bench.ctx.store.redis.zadd(keys.due("steps"), dict.fromkeys(strange, 0))
    claimed = await bench.ctx.store.claim("steps", len(strange) + 1)
    assert set(strange) < {*claimed.members, *claimed.newer}


async def test_lines_and_turns_end_with_what_was_in_them(bench: Bench) -> None:
    file = await bench.file()
    for number in range(30):
        await burst(bench, file, 1, f"project {number}")
        await bench.ctx.store.claim("steps", 10)
    assert await bench.ctx.store.redis.keys("th:turns:steps*") == []


async def test_a_burst_that_was_cancelled_is_not_held_against_its_project(bench: Bench) -> None:
    file = await bench.file()
    for member in await burst(bench, file, BURST, "p"):
        await bench.ctx.store.claim("steps", 0)
        await commands.cancel(bench.ctx, member.removeprefix("job:"), "p")
    await burst(bench, file, BURST, "another")
    [late] = await burst(bench, file, 1, "p")
    assert await claims_until(bench, late) <= 2


async def test_what_is_planned_for_later_leaves_its_line(bench: Bench) -> None:
    store, file = bench.ctx.store, await bench.file()
    first, second, third = await burst(bench, file, 3, "p")
    await store.claim("steps", 0)
    await store.plan(first, 60)
    await store.wake(second)
    assert (await store.claim("steps", 10)).members == [second, third]
    await store.redis.zadd(keys.due("steps"), {first: 0})
    assert (await store.claim("steps", 10)).members == [first]


async def test_no_member_is_claimed_twice_at_once_though_it_is_in_two_lines(bench: Bench) -> None:
    store, file = bench.ctx.store, await bench.file()
    job_id = await bench.accept(file)
    await bench.until_tracked(job_id)
    await store.wake(job_member(job_id))
    await store.claim("steps", 0)
    await commands.cancel(bench.ctx, job_id, "p")
    await store.claim("steps", 0)
    assert len(await store.redis.keys("th:turns:steps:*")) == 2
    assert (await store.claim("steps", 10)).members == [job_member(job_id)]
    assert await store.redis.keys("th:turns:steps*") == []


async def test_members_claimed_for_the_first_time_share_a_step_and_those_claimed_in_vain_have_their_own(
    bench: Bench,
) -> None:
    store, file = bench.ctx.store, await bench.file()
    members = await burst(bench, file, 12, "a")
    two_steps = await store.claim("steps", 2, {"job": 3})
    assert (two_steps.members, two_steps.first) == (members[:6], frozenset(members[:6]))
    await store.redis.zadd(keys.due("steps"), {member: 0 for member in members[:6]})  # their steps were killed
    again = await store.claim("steps", 6, {"job": 3})
    assert len(again.members) < 12, "six that were killed take six steps"
    assert again.first == frozenset(again.members) & frozenset(members[6:])


async def test_a_member_whose_line_is_gone_joins_it_again(bench: Bench) -> None:
    await bench.ctx.store.redis.zadd(keys.due("steps"), {"job:ftjob-x": -1})
    assert (await bench.ctx.store.claim("steps", 10)).members == ["job:ftjob-x"]


async def test_an_older_scheduler_claims_what_has_a_turn_and_its_polls_are_moved(bench: Bench) -> None:
    """The queue is read by its scores there, the lowest first, up to now: a line's are in the past."""
    store, file = bench.ctx.store, await bench.file()
    await burst(bench, file, 3, "a")
    [second] = await burst(bench, file, 1, "b")
    await store.claim("steps", 1)
    older = await store.redis.zrangebyscore(keys.due("steps"), "-inf", await store.now_ms())
    assert (len(older), second in older) == (3, True)
    await store.redis.zincrby(keys.due("steps"), 20_000 + await store.now_ms(), second)  # claimed there
    assert second not in (await store.claim("steps", 10)).members
    await store.redis.zadd(keys.due("steps"), {"look:openai": 5, "look:removed": 7})
    await store.redis.zadd(keys.due("polls"), {"look:openai": 3})
    await upgrade.carry_over(store)
    await upgrade.carry_over(store)
    assert await store.redis.zrange(keys.due("polls"), 0, -1, withscores=True) == [
        ("look:openai", 3),
        ("look:removed", 7),
    ]
    assert Counter(member[:4] for member in await store.redis.zrange(keys.due("steps"), 0, -1)) == {"job:": 4}


async def test_records_begin_with_the_members_that_a_turn_is_found_by(bench: Bench) -> None:
    file = await bench.file()
    job = (await bench.read(await bench.accept(file))).job
    for record in (file, job):
        assert record.model_dump_json().startswith(f'{{"id":"{record.id}","project":"p"')
