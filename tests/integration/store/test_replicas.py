"""What is answered or acted upon waits for replicas, if so many are asked for; without them nothing is sent to Redis.

The Redis here has no replica, so one that is asked for confirms nothing. tests/chaos/check_failover.py has real ones.
"""

from collections.abc import Awaitable, Callable

import pytest

from tests.integration.conftest import Bench
from tunehook.errors import CommitUnconfirmed
from tunehook.jobs import commands, copy_step, creating, lifecycle
from tunehook.maintenance import retention
from tunehook.model.job import Stage
from tunehook.model.member import copy_member, delivery_member, job_member
from tunehook.store.engine import keys
from tunehook.store.store import Store


def ask_for_replicas(store: Store, count: int) -> None:
    store.replicas, store.may_fail_over, store.confirm_seconds = count, count > 0, 0.05


async def commands_of(store: Store, work: Callable[[], Awaitable[object]]) -> dict[str, int]:
    await store.redis.config_resetstat()
    await work()
    found = await store.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in found.items()}


async def test_without_replicas_nothing_more_is_sent(bench: Bench) -> None:
    store = bench.ctx.store
    job_id = await bench.accept()

    async def _work() -> None:
        async with store.lease(job_member(job_id)):
            record = await bench.read(job_id)
            await store.commit(record.change(record.job))
            await store.confirm()
            assert await store.redis_health.primary_since() is None

    asked = await commands_of(store, _work)
    assert (asked["evalsha"], asked["hgetall"]) == (3, 1), "take, commit, give back; and one read"
    assert not {"waitaof", "info"} & set(asked)
    assert not await store.redis.exists(keys.CONFIRMED, keys.PRIMARY)


async def test_a_commit_that_no_replica_confirms_is_unconfirmed_though_it_happened(bench: Bench) -> None:
    record = await bench.read(await bench.accept())
    ask_for_replicas(bench.ctx.store, 1)
    for _ in range(2):  # the second is refused, by a record that is not confirmed
        with pytest.raises(CommitUnconfirmed):
            await bench.ctx.store.commit(record.change(record.job))
        assert (await bench.read(record.job.id)).revision == record.revision + 1


async def test_no_step_calls_outside_on_a_record_that_is_not_confirmed(bench: Bench) -> None:
    store = bench.ctx.store
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)  # it is uploading now, and wants its copy
    [file] = (await bench.read(job_id)).job.files
    ask_for_replicas(store, 1)
    with pytest.raises(CommitUnconfirmed):
        await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
    with pytest.raises(CommitUnconfirmed):
        await lifecycle.advance(bench.ctx, job_id)
    assert await bench.simulator.requests() == []
    ask_for_replicas(store, 0)
    await store.redis.delete(keys.lease(copy_member("openai", file.sha256)), keys.lease(job_member(job_id)))
    await bench.until_tracked(job_id)


async def test_no_create_goes_out_on_an_intent_that_is_not_confirmed(bench: Bench) -> None:
    store = bench.ctx.store
    member = await creating_job(bench)
    record = await bench.read(member.removeprefix("job:"))
    async with store.lease(member) as lease:
        ask_for_replicas(store, 1)
        with pytest.raises(CommitUnconfirmed):
            await creating.create(bench.ctx, record, lease)
        ask_for_replicas(store, 0)
    assert await bench.simulator.jobs() == []


async def test_no_delivery_is_handed_to_its_step_before_it_is_confirmed(bench: Bench) -> None:
    store = bench.ctx.store
    await store.plan(delivery_member("dlv_x"), 0)
    ask_for_replicas(store, 1)
    with pytest.raises(CommitUnconfirmed):
        await store.delivery_queue.claim(1)


async def test_no_bytes_are_removed_while_the_deletion_of_their_record_is_not_confirmed(bench: Bench) -> None:
    ctx = bench.ctx
    await ctx.files.storage.save("file-gone", b"{}")
    await ctx.store.redis.zadd(keys.LEAVING, {"file-gone": 0})
    ask_for_replicas(ctx.store, 1)
    with pytest.raises(CommitUnconfirmed):
        await retention.remove_bytes(ctx)
    assert await ctx.files.storage.exists("file-gone")
    ask_for_replicas(ctx.store, 0)
    assert await retention.remove_bytes(ctx) == 1
    assert not await ctx.files.storage.exists("file-gone")


async def test_a_repeat_is_not_answered_by_a_record_that_is_not_confirmed(bench: Bench) -> None:
    """Else a cancel that was answered is lost with this Redis, and the job is created and paid."""
    ctx, job_id = bench.ctx, await bench.accept()
    project = (await bench.read(job_id)).job.project
    ask_for_replicas(ctx.store, 1)
    for _ in range(2):
        with pytest.raises(CommitUnconfirmed):
            await commands.cancel(ctx, job_id, project)
    assert (await bench.read(job_id)).job.status == "cancelled"
    with pytest.raises(CommitUnconfirmed):
        await ctx.store.models.forget(project, "ft:x")


async def test_a_job_from_before_a_failover_is_searched_for_before_its_create(bench: Bench) -> None:
    """The new primary lacks the intent of a create that went out."""
    store = bench.ctx.store
    member = await creating_job(bench)
    before = await store.redis.hgetall(f"th:{member}")
    due = await store.redis.zscore(keys.due("steps"), member)
    job_id = member.removeprefix("job:")
    await bench.until_tracked(job_id)
    [made] = await bench.simulator.jobs()
    await store.redis.delete(keys.known("openai"), f"th:{member}")
    await store.redis.hset(f"th:{member}", mapping=before)
    await store.redis.zadd(keys.due("steps"), {member: due})
    await store.redis.set(keys.PRIMARY, "another 1")
    store.may_fail_over = True
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.CREATING, "the create may be under way"
    assert 25 < (await bench.due_in(member) or 0) <= 30
    primary, _, since = (await store.redis.get(keys.PRIMARY)).partition(" ")
    await store.redis.set(keys.PRIMARY, f"{primary} {int(since) - 30}")
    tracked = await bench.until_tracked(job_id)
    assert tracked.job.upstream_job_id == made["id"]
    assert len(await bench.simulator.jobs()) == 1


async def creating_job(bench: Bench) -> str:
    """Returns the member of a job whose create comes next."""
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    record = await bench.read(job_id)
    for file in record.job.files:
        await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
    await bench.ctx.store.commit(record.change(record.job.moved(Stage.CREATING)).due(record.member, 0))
    return record.member
