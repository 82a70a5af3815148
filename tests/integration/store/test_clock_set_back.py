"""Redis' clock is set back by an hour: nothing may wait for an hour, and it is said."""

import asyncio
import logging
import re
import socket
import time

import pytest

from service.metrics import exposition
from tests.integration.conftest import Bench
from tunehook.model.member import QUEUES, RETENTION, poll_member, queue_of
from tunehook.store import doctor
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.engine.lease import Lease, ended
from worker.scheduler import Scheduler

HOUR_MS = 3_600_000
#: Seconds of an hour, less the time that a slow machine takes: up to 100 s.
AN_HOUR = "3(5[0-9]{2}|600)"
SLOW_SECONDS = 60


async def set_back(bench: Bench) -> None:
    """Moves all times that are stored an hour ahead, which is the same as a clock that is an hour behind."""
    redis = bench.ctx.store.redis
    for queue in QUEUES:
        for member, at in await redis.zrange(keys.due(queue), 0, -1, withscores=True):
            await redis.zadd(keys.due(queue), {member: at + HOUR_MS})
    for name in (keys.CLOCK, keys.CLOCK_SEEN):
        await redis.set(name, await bench.ctx.store.now_ms() + HOUR_MS)
    async for name in redis.scan_iter(match="th:*"):
        if (left := await redis.pttl(name)) > 0:
            await redis.pexpire(name, left + HOUR_MS)
    for name in await redis.keys("th:job:*"):
        if intent := await redis.hget(name, "intent"):
            await redis.hset(name, "intent", int(intent) + HOUR_MS)


async def test_what_is_due_is_due_as_before(bench: Bench) -> None:
    store = bench.ctx.store
    await store.redis_health.watch_clock()
    job_id = await bench.accept()
    await store.redis.hset(keys.job(job_id), "intent", await store.now_ms() - 1000)
    await store.plan("delivery:dlv_later", 300)
    await store.plan("copy:openai:aa", 5)
    await store.upstreams.hold("openai", "why", "because", 60)
    await store.redis.set(keys.rest("ep_x"), 1, px=60_000)
    lease = Lease(store, "job:dead")
    await lease.take()
    fetched = await store.now_ms() + 60_000
    await store.redis.zadd(keys.pull("we_x"), {"dlv_x": fetched + HOUR_MS})
    await set_back(bench)
    assert await store.redis_health.watch_clock() == pytest.approx(3600, abs=SLOW_SECONDS)
    assert await bench.due_in(f"job:{job_id}") <= 0  # type: ignore[operator]
    assert 300 - SLOW_SECONDS < (await bench.due_in("delivery:dlv_later") or 0) <= 300
    assert (await bench.due_in("copy:openai:aa") or 0) <= 5
    assert await store.redis.zscore(keys.pull("we_x"), "dlv_x") == pytest.approx(fetched, abs=1000 * SLOW_SECONDS)
    held = await store.upstreams.held("openai")
    assert held is not None
    assert held.until - time.time() <= 61
    for name in (keys.hold("openai"), keys.rest("ep_x")):
        assert 0 < await store.redis.pttl(name) <= 60_000
    assert 0 < await store.redis.pttl(keys.lease("job:dead")) <= 15_000
    lease.check()
    intent = (await bench.read(job_id)).intent_ms
    assert intent is not None
    assert intent < await store.now_ms()
    assert await store.redis_health.watch_clock() == 0


async def test_events_and_extras_are_looked_for_at_once(bench: Bench) -> None:
    upstreams = bench.ctx.store.upstreams
    assert await upstreams.logs_to_read("openai", ["a"], older_than=10, limit=5) == ["a"]
    assert await upstreams.logs_to_read("openai", ["a"], older_than=10, limit=5) == []
    key = keys.log_read("openai")
    await bench.ctx.store.redis.zadd(key, {"a": await bench.ctx.store.now_ms() + HOUR_MS})
    assert await upstreams.logs_to_read("openai", ["a"], older_than=10, limit=5) == ["a"]


async def test_a_dead_scheduler_is_not_taken_for_alive(bench: Bench) -> None:
    await bench.ctx.store.tick("host")
    assert await bench.ctx.store.ticks("host")
    await set_back(bench)
    assert not await bench.ctx.store.ticks("host")


async def test_the_scheduler_pulls_in_and_log_doctor_and_metrics_say_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    store = bench.ctx.store
    await store.redis_health.watch_clock()
    with open_blocking(_url(bench)) as rq:
        await set_back(bench)
        far = await store.now_ms() + HOUR_MS
        for member, at in ((RETENTION, far + 48 * HOUR_MS), (poll_member("openai"), far)):
            await store.redis.zadd(keys.due(queue_of(member)), {member: at})
        await store.redis.set(keys.CLOCK_SEEN, await store.now_ms() + HOUR_MS)
        with caplog.at_level(logging.WARNING):
            scheduler = asyncio.create_task(Scheduler(store, rq, ["openai"]).run())
            try:
                for _ in range(3000):
                    if await store.ticks(socket.gethostname()):  # at the end of its first round
                        break
                    await asyncio.sleep(0.02)
            finally:
                await ended(scheduler)
    assert re.search(rf"Redis' clock was set back by {AN_HOUR} s", caplog.text)
    assert (await bench.due_in(poll_member("openai")) or 0) <= 30
    assert (await bench.due_in(RETENTION) or 0) <= 24 * 3600
    found = [finding for finding in await doctor.findings(store) if finding.subject == "Redis' clock"]
    assert [bool(re.search(f"{AN_HOUR} s", finding.words)) for finding in found] == [True]
    metrics = exposition(await store.metrics.read(["openai"])).decode()
    assert re.search(rf"tunehook_clock_set_back_seconds {AN_HOUR}\.", metrics)


def _url(bench: Bench) -> str:
    return f"unix://{bench.ctx.store.redis.connection_pool.connection_kwargs['path']}"


async def test_a_create_whose_job_is_in_a_line_is_as_old_as_before(bench: Bench) -> None:
    store = bench.ctx.store
    await store.redis_health.watch_clock()
    job_id = await bench.accept()
    await store.redis.hset(keys.job(job_id), "intent", await store.now_ms() - 1000)
    await store.claim("steps", 0)  # it joins its project's line
    assert await store.redis.zscore(keys.due("steps"), f"job:{job_id}") == -1
    await set_back(bench)
    await store.redis.zadd(keys.due("steps"), {f"job:{job_id}": -1})
    await store.redis_health.watch_clock()
    assert int(await store.redis.hget(keys.job(job_id), "intent")) <= await store.now_ms()
    assert await store.redis.zscore(keys.due("steps"), f"job:{job_id}") == -1


async def test_a_create_grows_no_older_when_the_clock_is_set_ahead(bench: Bench) -> None:
    """Else it would be created again after three searches within seconds."""
    store = bench.ctx.store
    job_id = await bench.accept()
    await store.redis_health.watch_clock()
    intent = await store.now_ms() - 5000
    await store.redis.hset(keys.job(job_id), "intent", intent)
    assert await store.redis_health.watch_clock() == 0
    assert int(await store.redis.hget(keys.job(job_id), "intent")) == intent
    behind = 0.0  # of our clock, as if Redis' had been set ahead
    for ahead, most in ((3000, 0), (60_000, 60_000)):
        behind += ahead / 1000
        await store.redis.hset(keys.job(job_id), "intent", intent - ahead)
        assert await store.redis_health.watch_clock(time.monotonic() - behind) == 0
        moved = int(await store.redis.hget(keys.job(job_id), "intent")) - (intent - ahead)
        assert moved == pytest.approx(most, abs=1000)
