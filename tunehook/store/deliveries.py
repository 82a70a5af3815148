"""Events, and the deliveries that carry them. All to one receiver wait in its *lane*; a lane is what is due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunehook.model import Attempt, Delivery, Event
from tunehook.store import keys
from tunehook.store.commit import Change
from tunehook.store.connection import Lease, unavailable

if TYPE_CHECKING:
    from tunehook.store.store import Store

#: Events, deliveries and their attempts are kept for so long.
KEPT_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class DeliveryRecord:
    delivery: Delivery
    revision: int
    event: Event


class Deliveries:
    def __init__(self, store: Store) -> None:
        self._store = store

    def outbox(self, change: Change, event: Event, deliveries: Iterable[Delivery]) -> Change:
        """The event and its deliveries, in the same breath as the change of state that they tell of."""
        expiry = str(KEPT_SECONDS)
        change.do("SET", keys.event(event.id), event.model_dump_json(exclude_none=True), "EX", expiry)
        for delivery in deliveries:
            key = keys.delivery(delivery.id)
            change.do("HSET", key, "rev", 1, "doc", delivery.model_dump_json(exclude_none=True))
            change.do("EXPIRE", key, expiry)
            if delivery.job_id:
                change.list_in(keys.job_deliveries(delivery.job_id), delivery.id)
            change.at(keys.lane(delivery.lane), delivery.id, 0)
            change.wake(f"lane:{delivery.lane}")
        return change

    async def due_in(self, lane: str, limit: int) -> list[str]:
        """The deliveries of a lane whose next attempt is due, the longest waiting first."""
        now = await self._store.now_ms()
        with unavailable():
            return list(await self._store.redis.zrangebyscore(keys.lane(lane), "-inf", now, start=0, num=limit))

    async def read(self, delivery_id: str) -> DeliveryRecord | None:
        with unavailable():
            fields = await self._store.redis.hgetall(keys.delivery(delivery_id))
        if not fields.get("doc"):
            return None
        delivery = Delivery.model_validate_json(fields["doc"])
        with unavailable():
            event = await self._store.redis.get(keys.event(delivery.event_id))
        if not event:
            return None
        return DeliveryRecord(delivery, int(fields["rev"]), Event.model_validate_json(event))

    async def record(
        self,
        record: DeliveryRecord,
        delivery: Delivery,
        attempt: Attempt,
        lease: Lease,
        *,
        pause: float | None,
    ) -> None:
        """One attempt, what came of it, and when the next is due (`pause` in seconds; None: never)."""
        change = Change(
            record=keys.delivery(delivery.id),
            revision=record.revision,
            document=delivery.model_dump_json(exclude_none=True),
            member=lease.member,
            token=lease.token,
        )
        attempts = keys.attempts(delivery.id)
        change.do("RPUSH", attempts, attempt.model_dump_json(exclude_none=True))
        change.do("EXPIRE", attempts, KEPT_SECONDS)
        if pause is None:
            change.do("ZREM", keys.lane(delivery.lane), delivery.id)
        else:
            change.at(keys.lane(delivery.lane), delivery.id, pause)
        await self._store.commit(change)

    async def forget(self, lane: str, delivery_id: str) -> None:
        """A delivery whose record is gone (kept for its time) is not due any more."""
        with unavailable():
            await self._store.redis.zrem(keys.lane(lane), delivery_id)

    async def plan_lane(self, lane: str, *, rest: float = 0.0) -> None:
        """When the lane is due next: with its first delivery, but not before `rest` seconds from now."""
        await self._store.run("lane", [keys.lane(lane), keys.due("deliver")], [f"lane:{lane}", int(rest * 1000)])

    async def of_job(self, job_id: str) -> list[Delivery]:
        """Newest first."""
        redis = self._store.redis
        with unavailable():
            ids = await redis.zrevrange(keys.job_deliveries(job_id), 0, -1)
            documents = [await redis.hget(keys.delivery(delivery_id), "doc") for delivery_id in ids]
        return [Delivery.model_validate_json(document) for document in documents if document]

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        """In order."""
        with unavailable():
            rows = await self._store.redis.lrange(keys.attempts(delivery_id), 0, -1)
        return [Attempt.model_validate_json(row) for row in rows]
