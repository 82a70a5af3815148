"""Records of events, deliveries and attempts: how they are written and read.

delivery_queue.py claims the deliveries that are due.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from tunehook.errors import DeliveryNotFound
from tunehook.model.member import delivery_member
from tunehook.model.webhook import PULL_IDLE_SECONDS, Attempt, Delivery, Event
from tunehook.store import tally
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.record import Stored

#: How long events, deliveries and attempts are kept, unless the settings say otherwise.
KEPT_SECONDS = 30 * 24 * 3600
#: Records read at once while a list is filtered.
SCAN = 200


class DeliveryRecord(Stored[Delivery]):
    model = Delivery
    key = staticmethod(keys.delivery)

    @property
    def delivery(self) -> Delivery:
        return self.value

    def change(self, value: Delivery, lease: Lease | None = None) -> Change:
        return super().change(value, lease).tell(value.project, "delivery", value.id)


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
            if delivery.pulled and delivery.endpoint_id:
                # For one whose endpoint is deleted at this moment: retention finds and gives it up.
                gone_at = (event.created_at + PULL_IDLE_SECONDS) * 1000
                change.do("ZADD", keys.pulls(delivery.project), "NX", gone_at, delivery.endpoint_id)
                self._due(change, delivery, 0)
            else:
                change.wake(delivery_member(delivery.id))
            change.tell(delivery.project, "delivery", delivery.id)
        return change

    def sample(self, event: Event, delivery: Delivery) -> Change:
        """Returns the change that adds an event which changes nothing else, for one endpoint."""
        return self.outbox(DeliveryRecord.new(delivery), event, [delivery])

    def attempted(self, record: DeliveryRecord, delivery: Delivery, attempt: Attempt) -> Change:
        """Returns the change that records one attempt. `plan` adds when the next one is due."""
        change = record.change(delivery)
        attempts = keys.attempts(delivery.id)
        change.do("RPUSH", attempts, attempt.model_dump_json(exclude_none=True))
        change.do("EXPIRE", attempts, self.kept_seconds)
        outcome = _outcome(attempt.status_code)
        change.do("HINCRBY", keys.ATTEMPTS, outcome, 1)
        return tally.observe(change, tally.DELIVERY_SECONDS, (outcome,), attempt.seconds)

    def plan(self, change: Change, delivery: Delivery, pause: float | None) -> Change:
        """Plans the next attempt in `pause` seconds; None: there is none."""
        self._due(change, delivery, pause)
        if pause is None and delivery.state == "failed" and delivery.endpoint_id:
            failed = keys.failed_deliveries(delivery.endpoint_id)
            change.do("ZADD", failed, delivery.created_at * 1000, delivery.id)
            change.do("EXPIRE", failed, self.kept_seconds)
        return change

    def again(self, change: Change, delivery: Delivery) -> Change:
        """Makes a delivery due now."""
        if delivery.endpoint_id:
            change.do("ZREM", keys.failed_deliveries(delivery.endpoint_id), delivery.id)
        return self._due(change, delivery, 0)

    def _due(self, change: Change, delivery: Delivery, pause: float | None) -> Change:
        """Plans a delivery in `pause` seconds, in the queue that it is sent from, or its endpoint's, to be fetched."""
        if not (delivery.pulled and delivery.endpoint_id):
            return change.due(delivery_member(delivery.id), pause)
        change.due(delivery_member(delivery.id), None)
        queue = keys.pull(delivery.endpoint_id)
        if pause is None:
            return change.do("ZREM", queue, delivery.id)
        return change.at(queue, delivery.id, pause, keep=self.kept_seconds)

    # ---- read

    async def read(self, delivery_id: str, project: str | None = None) -> DeliveryRecord:
        """Raises DeliveryNotFound, also for another project's delivery, RecordTooNew and RecordUnreadable."""
        record = await DeliveryRecord.read(self._store, delivery_id)
        if record is None or (project is not None and record.delivery.project != project):
            raise DeliveryNotFound(id=delivery_id)
        return record

    async def read_many(self, delivery_ids: Iterable[str]) -> list[DeliveryRecord]:
        """Returns the deliveries that exist and can be read, in the order given."""
        return await DeliveryRecord.read_many(self._store, delivery_ids)

    async def event(self, delivery: Delivery) -> Event:
        """Returns what is delivered. Raises DeliveryNotFound when it has expired at this moment."""
        document = await self._store.redis.get(keys.event(delivery.event_id))
        if not document:
            raise DeliveryNotFound(id=delivery.id)
        return Event.model_validate_json(document)

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        """Returns the delivery's attempts in order."""
        rows = await self._store.redis.lrange(keys.attempts(delivery_id), 0, -1)
        return [Attempt.model_validate_json(row) for row in rows]

    async def any_pending(self, job_id: str) -> bool:
        """Tells whether one of the job's events is still to be delivered."""
        found, _ = await self._page(keys.job_deliveries(job_id), None, 1, lambda delivery: delivery.state == "pending")
        return bool(found)

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
        """Returns a page, newest first, and if there are more. `since` ≤ created < `before`, unix seconds."""
        index = keys.failed_deliveries(endpoint_id) if failed_only else keys.endpoint_deliveries(endpoint_id)
        low = "-inf" if since is None else str(since * 1000)
        high = "+inf" if before is None else f"({before * 1000}"
        return await self._page(index, after, limit, wanted, low, high)

    async def failed_since(self, endpoint_id: str, since: int) -> list[str]:
        """Returns the ids of the failed deliveries created since (unix seconds), the oldest first."""
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
        found, more = await DeliveryRecord.page(
            self._store, self._ids(index, after, low, high), limit=limit, wanted=lambda record: wanted(record.delivery)
        )
        return [record.delivery for record in found], more

    async def _ids(self, index: str, after: str | None, low: str, high: str) -> AsyncIterator[list[str]]:
        """Yields the ids behind `after`, the newest first, also of deliveries that have expired.

        A filter may read the whole index (see indexes.py), which holds what retention keeps of the endpoint.
        """
        redis = self._store.redis
        start = 0
        if after is not None:
            rank = await redis.zrevrank(index, after)
            newer = await redis.zcount(index, high.lstrip("("), "+inf") if high != "+inf" else 0
            if rank is None:
                raise DeliveryNotFound(id=after)
            start = max(0, int(rank) + 1 - int(newer))
        while True:
            ids = await redis.zrevrangebyscore(index, high, low, start=start, num=SCAN)
            if ids:
                yield ids
            if len(ids) < SCAN:
                return
            start += len(ids)


def _outcome(status: int | None) -> str:
    """Returns the outcome for /metrics: `delivered`, `refused` (any other answer) or `unanswered`."""
    if status is None:
        return "unanswered"
    return "delivered" if 200 <= status < 300 else "refused"
