"""Kinds of members that only a newer version knows, and kinds that are never parked."""

import logging

import pytest

from service.metrics import exposition
from tests.fakes.valkey import Valkey
from tests.integration.conftest import Bench
from tunehook.model.member import poll_member
from tunehook.store.doctor import findings
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking
from worker.rq_worker import StepWorker
from worker.scheduler import Scheduler, queues


@pytest.mark.parametrize("queue", ["steps", "polls"])
async def test_a_kind_of_a_newer_version_is_left_to_it_and_said_once(
    bench: Bench, valkey: Valkey, caplog: pytest.LogCaptureFixture, queue: str
) -> None:
    """In `steps` it comes by its project's line, in `polls` by its time."""
    redis, name = bench.ctx.store.redis, keys.due(queue)  # type: ignore[arg-type]
    with open_blocking(valkey.url) as connection:
        scheduler = Scheduler(bench.ctx.store, connection, [])
        for _ in range(25):
            await redis.zadd(name, {"unheard:of": 0, "unheard:of-too": 0})
            await scheduler.enqueue_due(queue)  # type: ignore[arg-type]
            assert 4 < (await redis.zscore(name, "unheard:of") - await bench.ctx.store.now_ms()) / 1000 <= 5
        assert queues(connection)[queue].count == 0  # type: ignore[index]
    assert await redis.hget(keys.CLAIMS, "unheard:of") is None
    assert await redis.zcard(keys.PARKED) == 0
    assert caplog.text.count("unheard") == 1


def test_a_worker_leaves_a_step_of_a_newer_version_and_says_so_once(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    with open_blocking(valkey.url) as connection:
        rq = queues(connection)["steps"]
        caplog.set_level(logging.WARNING)
        worker = StepWorker([rq], connection=connection, serializer=rq.serializer)
        for _ in range(2):
            step = rq.enqueue("worker.steps.unheard", "x")
            rq.pop_job_id()
            worker.execute_job(step, rq)
        assert (rq.count, rq.failed_job_registry.count, rq.started_job_registry.count) == (0, 0, 0)
        assert list(connection.scan_iter("rq:job:*")) == []
    assert caplog.text.count("worker.steps.unheard") == 1


async def test_deployments_are_never_parked_and_their_pause_has_a_cap(bench: Bench) -> None:
    store, member = bench.ctx.store, "deployment:ftjob-x"
    for _ in range(25):
        await store.redis.zadd(keys.due("steps"), {member: 0})
        claimed = await store.claim("steps", 10)
        assert (claimed.parked, claimed.members) == ([], [member])
    assert round(await bench.due_in(member) or 0) == 600


async def test_polls_that_come_to_no_end_are_shown(bench: Bench) -> None:
    store, member = bench.ctx.store, poll_member("openai")
    for _ in range(6):
        await store.redis.zadd(keys.due("polls"), {member: 0})
        await store.claim("polls", 10)
    told = await store.metrics.read(["openai"])
    assert told.polls_in_vain == {"openai": 5}
    assert b'tunehook_polls_in_vain{upstream="openai"} 5.0' in exposition(told)
    found = [one for one in await findings(store) if one.kind == "in vain"]
    assert [(one.subject, one.grave) for one in found] == [(member, True)]
    await store.plan(member, 30)
    assert (await store.metrics.read(["openai"])).polls_in_vain == {"openai": 0}
    assert [one for one in await findings(store) if one.kind == "in vain"] == []
