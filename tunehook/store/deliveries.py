"""Records of events, deliveries and attempts: how they are written and read.

delivery_queue.py claims the deliveries that are due.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tunehook.errors import DeliveryNotFound
from tunehook.model.member import delivery_member
from tunehook.model.webhook import Attempt, Delivery, Event
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import unavailable
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)

#: How long events, deliveries and attempts are kept, unless the settings say otherwise.
KEPT_SECONDS = 30 * 24 * 3600
#: Records read at once while a list is filtered.
SCAN = 200


@dataclass(frozen=True)
class DeliveryRecord:
    delivery: Delivery
    revision: int
    event: Event

    def change(self, delivery: Delivery) -> Change:
        return Change(
            record=keys.delivery(delivery.id),
            revision=self.revision,
            document=delivery.model_dump_json(exclude_none=True),
        )


class Deliveries:
    def __init__(self, store: DueQueue) -> None:
        self._store = store
        self.kept_seconds = KEPT_SECONDS

    # ---- written

    def outbox(self, change: Change, event: Event, deliveries: Iterable[Delivery]) -> Change:
        """Adds an event and its deliveries to the commit of the state change that they report.

        An index lives as long as its newest entry; adding one cuts off the entries that have expired.
        """
        expiry = str(self.kept_seconds)
        expired = (event.created_at - self.kept_seconds) * 1000
        change.do("SET", keys.event(event.id), event.model_dump_json(exclude_none=True), "EX", expiry)
        for delivery in deliveries:
            key = keys.delivery(delivery.id)
            change.do("HSET", key, "rev", 1, "doc", delivery.model_dump_json(exclude_none=True))
            change.do("EXPIRE", key, expiry)
            indexes = []
            if delivery.job_id:
                indexes.append(keys.job_deliveries(delivery.job_id))
            if delivery.endpoint_id:
                indexes.append(keys.endpoint_deliveries(delivery.endpoint_id))
            for index in indexes:
                change.do("ZREMRANGEBYSCORE", index, "-inf", expired)
                change.at(index, delivery.id, 0, keep=self.kept_seconds)
            change.wake(delivery_member(delivery.id))
        return change

    def attempted(self, record: DeliveryRecord, delivery: Delivery, attempt: Attempt) -> Change:
        """Returns the change that records one attempt. `plan` adds when the next one is due."""
        change = record.change(delivery)
        attempts = keys.attempts(delivery.id)
        change.do("RPUSH", attempts, attempt.model_dump_json(exclude_none=True))
        change.do("EXPIRE", attempts, self.kept_seconds)
        change.do("HINCRBY", keys.ATTEMPTS, _outcome(attempt.status_code), 1)
        return change

    def plan(self, change: Change, delivery: Delivery, pause: float | None) -> Change:
        """Plans the next attempt in `pause` seconds; None: there is none."""
        change.due(delivery_member(delivery.id), pause)
        if pause is None and delivery.state == "failed" and delivery.endpoint_id:
            failed = keys.failed_deliveries(delivery.endpoint_id)
            change.do("ZADD", failed, delivery.created_at * 1000, delivery.id)
            change.do("EXPIRE", failed, self.kept_seconds)
        return change

    def again(self, change: Change, delivery: Delivery) -> Change:
        """Makes a delivery due now."""
        if delivery.endpoint_id:
            change.do("ZREM", keys.failed_deliveries(delivery.endpoint_id), delivery.id)
        return change.due(delivery_member(delivery.id), 0)

    # ---- read

    async def read(self, delivery_id: str, project: str | None = None) -> DeliveryRecord:
        """Reads a delivery and its event. Raises DeliveryNotFound, also for another project's."""
        with unavailable():
            fields = await self._store.redis.hgetall(keys.delivery(delivery_id))
            delivery = Delivery.model_validate_json(fields["doc"]) if fields.get("doc") else None
            event = await self._store.redis.get(keys.event(delivery.event_id)) if delivery else None
        if delivery is None or not event or (project is not None and delivery.project != project):
            raise DeliveryNotFound(id=delivery_id)
        return DeliveryRecord(delivery, int(fields["rev"]), Event.model_validate_json(event))

    async def failed_of(self, ids: list[str]) -> list[DeliveryRecord]:
        """Returns those of the deliveries that were given up, in two round trips. One that has expired is left out."""
        rows = await self._store.ask(*[("HMGET", keys.delivery(delivery_id), "rev", "doc") for delivery_id in ids])
        read = [(_readable(name, document), int(rev or 0)) for name, (rev, document) in zip(ids, rows, strict=True)]
        found = [(delivery, rev) for delivery, rev in read if delivery and delivery.state == "failed"]
        events = await self._store.ask(*[("GET", keys.event(delivery.event_id)) for delivery, _ in found])
        return [
            DeliveryRecord(delivery, rev, Event.model_validate_json(event))
            for (delivery, rev), event in zip(found, events, strict=True)
            if event
        ]

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        """Returns the delivery's attempts in order."""
        with unavailable():
            rows = await self._store.redis.lrange(keys.attempts(delivery_id), 0, -1)
        return [Attempt.model_validate_json(row) for row in rows]

    async def of_job(self, job_id: str) -> list[Delivery]:
        """Returns all deliveries of the job's events, the newest first."""
        return [delivery async for delivery in self._walk(keys.job_deliveries(job_id), None, "-inf", "+inf")]

    async def page_of_job(self, job_id: str, *, after: str | None, limit: int) -> tuple[list[Delivery], bool]:
        """Returns a page of the job's deliveries, the newest first, and whether there are more."""
        return await self._page(keys.job_deliveries(job_id), after, limit)

    async def page_of_endpoint(
        self,
        endpoint_id: str,
        *,
        after: str | None,
        limit: int,
        wanted: Callable[[Delivery], bool],
        failed_only: bool = False,
        since: int | None = None,
        before: int | None = None,
    ) -> tuple[list[Delivery], bool]:
        """Returns a page, the newest first, and whether there are more. `since` ≤ created < `before`, unix seconds."""
        index = keys.failed_deliveries(endpoint_id) if failed_only else keys.endpoint_deliveries(endpoint_id)
        low = "-inf" if since is None else str(since * 1000)
        high = "+inf" if before is None else f"({before * 1000}"
        return await self._page(index, after, limit, wanted, low, high)

    async def failed_since(self, endpoint_id: str, since: int) -> list[str]:
        """Returns the ids of the failed deliveries created since (unix seconds), the oldest first."""
        with unavailable():
            index = keys.failed_deliveries(endpoint_id)
            return list(await self._store.redis.zrangebyscore(index, since * 1000, "+inf"))

    async def _page(
        self,
        index: str,
        after: str | None,
        limit: int,
        wanted: Callable[[Delivery], bool] = lambda _: True,
        low: str = "-inf",
        high: str = "+inf",
    ) -> tuple[list[Delivery], bool]:
        found: list[Delivery] = []
        async for delivery in self._walk(index, after, low, high):
            if wanted(delivery):
                found.append(delivery)
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    async def _walk(self, index: str, after: str | None, low: str, high: str) -> AsyncIterator[Delivery]:
        """Yields the deliveries behind `after`, the newest first, without those that have expired.

        A filter may read the whole index (see indexes.py), which holds what retention keeps of the endpoint.
        """
        redis = self._store.redis
        start = 0
        if after is not None:
            with unavailable():
                rank = await redis.zrevrank(index, after)
                newer = await redis.zcount(index, high.lstrip("("), "+inf") if high != "+inf" else 0
            if rank is None:
                raise DeliveryNotFound(id=after)
            start = max(0, int(rank) + 1 - int(newer))
        while True:
            with unavailable():
                ids = await redis.zrevrangebyscore(index, high, low, start=start, num=SCAN)
                async with redis.pipeline(transaction=False) as pipe:
                    for delivery_id in ids:
                        pipe.hget(keys.delivery(delivery_id), "doc")
                    documents: list[Any] = await pipe.execute()
            for delivery_id, document in zip(ids, documents, strict=True):
                if delivery := _readable(delivery_id, document):
                    yield delivery
            if len(ids) < SCAN:
                return
            start += len(ids)


def _readable(delivery_id: str, document: str | None) -> Delivery | None:
    """Returns None for a delivery that has expired, or whose record is unreadable: it must not hide the others."""
    try:
        return Delivery.model_validate_json(document) if document else None
    except ValidationError as error:
        log.warning("delivery %s is left out, its record cannot be read: %s", delivery_id, error)
        return None


def _outcome(status: int | None) -> str:
    """Returns the outcome as /metrics counts it: `delivered`, `refused` (any other answer) or `unanswered`."""
    if status is None:
        return "unanswered"
    return "delivered" if 200 <= status < 300 else "refused"
