"""The deliveries of pull endpoints: which are due, who holds them, and which endpoints are no longer read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunehook.model.member import delivery_member
from tunehook.model.webhook import PULL_IDLE_SECONDS, Delivery, Endpoint, Event
from tunehook.store.deliveries import DeliveryRecord
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue

GIVE_UP_PAGE = 1000


@dataclass(frozen=True)
class HandedOut:
    """A delivery that was handed out. `until`: the end of its lease, ms of Redis' clock."""

    delivery: Delivery
    event: Event
    until: int


class PullQueue:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def hand_out(
        self,
        endpoint: Endpoint,
        *,
        reader: str,
        lease_seconds: float,
        limit: int,
        after: str | None = None,
        job: str | None = None,
    ) -> tuple[list[HandedOut], bool]:
        """Leases up to `limit` due deliveries to a reader; returns them, and whether more are due.

        `after`: the last delivery that the reader has received. `job`: only deliveries about it. See pull.lua.
        """
        names = [keys.pull(endpoint.id), keys.pulls(endpoint.project)]
        names += [keys.job_deliveries(job)] if job else []
        arguments = [endpoint.id, PULL_IDLE_SECONDS * 1000, int(lease_seconds * 1000), limit, reader, after or ""]
        left, *rows = await self._store.run("pull", names, arguments)
        until = {str(name): int(till) for name, till in zip(rows[::2], rows[1::2], strict=True)}
        if not until:
            return [], int(left) > 0
        records = await DeliveryRecord.read_many(self._store, until)
        events = await self._store.redis.mget([keys.event(record.delivery.event_id) for record in records] or [""])
        found = [
            HandedOut(record.delivery, Event.model_validate_json(event), until[record.delivery.id])
            for record, event in zip(records, events, strict=False)
            if event and record.delivery.state == "pending"
        ]
        return found, int(left) > 0

    async def still_held(self, endpoint_id: str, held: Mapping[str, int]) -> dict[str, int]:
        """Returns those of a reader's deliveries (→ end of the lease, ms) of which it has reported nothing yet."""
        if not held:
            return {}
        names = list(held)
        now = await self._store.now_ms()
        [scores] = await self._store.ask(("ZMSCORE", keys.pull(endpoint_id), *names))
        pairs = zip(names, scores, strict=True)
        return {name: held[name] for name, at in pairs if at is not None and float(at) == held[name] > now}

    async def idle(self, project: str) -> list[str]:
        """Returns ids of the project's pull endpoints that were not read for seven days, or are deleted."""
        now = await self._store.now_ms()
        return list(await self._store.redis.zrangebyscore(keys.pulls(project), "-inf", now))

    async def give_up(self, endpoint_id: str, project: str) -> None:
        """Leaves the deliveries of a deleted endpoint to a delivery step, which gives them up."""
        redis, queue = self._store.redis, keys.pull(endpoint_id)
        while ids := await redis.zrange(queue, 0, GIVE_UP_PAGE - 1):
            due = {delivery_member(name): 0 for name in ids}
            await redis.pipeline().zadd(keys.due("deliver"), due).zrem(queue, *ids).execute()
        await redis.zrem(keys.pulls(project), endpoint_id)
        await redis.publish(keys.WAKE, "deliver")
