"""Upgrade from a version whose pending deliveries wait in lanes: they are carried over and sent, each once."""

import asyncio
import json

from tests.fakes.receiver import Receiver
from tests.fakes.valkey import Valkey
from tests.integration.webhooks.conftest import DUE, Office
from tunehook.store import doctor, upgrade
from tunehook.store.engine.addresses import open_blocking
from worker.scheduler import Scheduler

SUCCEEDED = "fine_tuning.job.succeeded"


async def old_delivery(office: Office, endpoint_id: str, url: str, number: int) -> str:
    """Writes an event and its pending delivery as version 0.1 (f5706de) wrote them; returns the delivery's id."""
    event_id, delivery_id = f"evt_old{number}", f"dlv_old{number}"
    body = {
        "id": event_id,
        "object": "event",
        "created_at": 1795340802,
        "type": SUCCEEDED,
        "data": {"id": f"ftjob-{number}"},
    }
    event = {
        "id": event_id,
        "type": SUCCEEDED,
        "project": office.project,
        "job_id": f"ftjob-{number}",
        "created_at": 1795340802,
        "body": json.dumps(body, separators=(",", ":")),
    }
    delivery = {
        "id": delivery_id,
        "event_id": event_id,
        "event_type": SUCCEEDED,
        "project": office.project,
        "job_id": f"ftjob-{number}",
        "endpoint_id": endpoint_id,
        "url": url,
        "lane": endpoint_id,
        "created_at": 1795340802,
        "state": "pending",
        "attempts": 0,
        "attempts_before": 0,
        "next_attempt_at": 1795340802,
    }
    redis = office.ctx.store.redis
    await redis.set(f"th:event:{event_id}", json.dumps(event, separators=(",", ":")), ex=2592000)
    document = json.dumps(delivery, separators=(",", ":"))
    await redis.hset(f"th:delivery:{delivery_id}", mapping={"rev": 1, "doc": document})
    await redis.expire(f"th:delivery:{delivery_id}", 2592000)
    await redis.zadd(f"th:endpoint-deliveries:{endpoint_id}", {delivery_id: 1795340802000})
    return delivery_id


async def old_lane(office: Office, receiver: Receiver, *, at: float, slow: bool = False, count: int = 1) -> list[str]:
    """Writes a subscription with pending deliveries in its lane, due at `at` (ms); returns the deliveries' ids."""
    made = await office.subscribe(receiver.url, SUCCEEDED)
    redis, lane = office.ctx.store.redis, made["id"]
    base = 100 * await redis.zcard("th:due:deliver") + 10_000 * await redis.zcard("th:due:slow")
    ids = [await old_delivery(office, lane, receiver.url, base + number) for number in range(count)]
    await redis.zadd(f"th:lane:{lane}", dict.fromkeys(ids, at))
    await redis.zadd("th:due:slow" if slow else "th:due:deliver", {f"lane:{lane}": at})
    if slow:
        await redis.sadd("th:slow-lanes", lane)
    return ids


async def left(office: Office) -> list[str]:
    """Returns what is left of the old structure."""
    patterns = ("th:lane:*", "th:lane-rest:*", "th:slow-lanes", "th:due:deliver", "th:due:slow")
    return [name for pattern in patterns async for name in office.ctx.store.redis.scan_iter(match=pattern)]


async def test_pending_deliveries_are_carried_over_and_sent_once(office: Office, receiver: Receiver) -> None:
    now = await office.ctx.store.now_ms()
    many = await old_lane(office, receiver, at=now - 1000, count=5)
    slow = await old_lane(office, receiver, at=now - 1000, slow=True)
    later = await old_lane(office, receiver, at=now + 3_600_000)
    assert [finding for finding in await doctor.findings(office.ctx.store) if finding.kind == "stuck"] == []
    # Two programs start at once, and one of them again.
    moved = await asyncio.gather(*(upgrade.carry_over(office.ctx.store) for _ in range(2)))
    assert sum(moved) == 7
    assert await upgrade.carry_over(office.ctx.store) == 0
    assert await left(office) == []
    await office.deliver()
    assert sorted(hook.id for hook in receiver.hooks) == sorted(one.replace("dlv_", "evt_") for one in many + slow)
    assert 3500 < await office.due_in(later[0]) <= 3600


async def test_a_receiver_that_throttles_keeps_its_rest(office: Office, receiver: Receiver) -> None:
    [waiting] = await old_lane(office, receiver, at=0)
    [lane] = [name async for name in office.ctx.store.redis.scan_iter(match="th:lane:*")]
    await office.ctx.store.redis.set(lane.replace("th:lane:", "th:lane-rest:"), "1", px=100_000)
    await upgrade.carry_over(office.ctx.store)
    await office.deliver()
    assert receiver.hooks == []
    assert 90 < await office.due_in(waiting) <= 101


async def test_a_lane_that_an_old_worker_sends_is_carried_over_after_its_lease(
    office: Office, receiver: Receiver
) -> None:
    [waiting] = await old_lane(office, receiver, at=0)
    redis = office.ctx.store.redis
    [lane] = await redis.zrange("th:due:deliver", 0, -1)
    await redis.set(f"th:lease:{lane}", "an old worker's", px=15_000)
    assert await upgrade.carry_over(office.ctx.store) == 0
    await office.deliver()
    assert receiver.hooks == []
    await redis.delete(f"th:lease:{lane}")
    assert await upgrade.carry_over(office.ctx.store) == 1
    assert await redis.zrange(DUE, 0, -1) == [f"delivery:{waiting}"]


async def test_the_scheduler_carries_over_what_an_old_program_adds(
    office: Office, receiver: Receiver, valkey: Valkey
) -> None:
    await old_lane(office, receiver, at=0)
    connection = open_blocking(valkey.url)
    scheduler = asyncio.create_task(Scheduler(office.ctx.store, connection, [], upgrade_seconds=0.2).run())
    try:
        for _ in range(2):
            async with asyncio.timeout(120):
                while True:
                    await asyncio.sleep(0.05)
                    if not await left(office):
                        break
            await old_lane(office, receiver, at=0)
    finally:
        scheduler.cancel()
        await asyncio.gather(scheduler, return_exceptions=True)
        connection.close()
