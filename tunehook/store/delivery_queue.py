"""Claims the deliveries that are due, and reads what sending them takes.

A claim moves the due time 20 s ahead (visibility timeout, claim.lua), and the commit of an attempt compares the
record's revision. No lease is needed: an attempt that begins in time has ended before the delivery is due again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from tunehook.errors import RecordTooNew, RecordUnreadable
from tunehook.model.api_key import ApiKey
from tunehook.model.member import delivery_member
from tunehook.model.webhook import Delivery, Event, ReceiverState
from tunehook.store.deliveries import DeliveryRecord
from tunehook.store.endpoints import EndpointRecord
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)

#: An attempt may take 15 s and its commit 2 s, so it begins within 3 s of the claim or not at all.
BEGIN_SECONDS = 3.0
UNREADABLE_SECONDS = 3600.0
#: A newer version's delivery comes back soon: its own worker may claim it then.
NEWER_SECONDS = 5.0
#: How long a receiver's state is kept after its last change: retries go on for 75 hours.
STATE_SECONDS = 7 * 24 * 3600
WAKE_PAGE = 1000


@dataclass(frozen=True)
class Due:
    """A claimed delivery with all that sending takes.

    `key`: its callback secret signs, unless an endpoint's does. `state` and `rest` (seconds for which nothing is sent)
    are the receiver's. `begin_by`: when the attempt has to begin at the latest, by the monotonic clock.
    """

    record: DeliveryRecord
    event: Event
    key: ApiKey | None
    endpoint: EndpointRecord | None
    state: ReceiverState | None
    rest: float
    begin_by: float

    @property
    def delivery(self) -> Delivery:
        return self.record.delivery

    @property
    def closed(self) -> bool:
        """Whether the delivery is for an endpoint that is deleted or disabled."""
        return self.delivery.endpoint_id is not None and (self.endpoint is None or not self.endpoint.endpoint.enabled)


class DeliveryQueue:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def anything_due(self) -> bool:
        now = await self._store.now_ms()
        return bool(await self._store.redis.zcount(keys.due("deliver"), "-inf", now))

    async def claim(self, limit: int) -> tuple[int, list[Due]]:
        """Claims up to `limit` due deliveries, earliest first; returns how many, and those to be sent.

        One that has expired or ended is not due any more. An unreadable one waits an hour, a newer version's 5 s.
        Raises CommitUnconfirmed where replicas have to confirm them and do not.
        """
        begin_by = time.monotonic() + BEGIN_SECONDS
        ids = [member.partition(":")[2] for member in (await self._store.claim("deliver", limit)).members]
        if not ids:
            return 0, []
        later: dict[str, float] = {}
        pending = await self._pending(ids, later)
        needs = await self._needs([record.delivery for record in pending])
        found: list[Due] = []
        for record in pending:
            delivery = record.delivery
            try:
                event = needs.event(delivery.event_id)
                if event is None:
                    await self._store.unplan(delivery_member(delivery.id))
                    continue
                key, endpoint = needs.key(delivery.key_id), needs.endpoint(delivery.lane)
                found.append(Due(record, event, key, endpoint, *needs.receiver(delivery.lane), begin_by))
            except ValidationError as error:
                later[delivery.id] = _unreadable(delivery.id, error)
            except (RecordTooNew, RecordUnreadable) as error:  # due again when the claim ends, after 20 s
                log.warning("delivery %s waits: %s", delivery.id, error.message)
        await self.postpone(later)
        await self._store.confirm()
        return len(ids), found

    async def _pending(self, ids: list[str], later: dict[str, float]) -> list[DeliveryRecord]:
        """Reads the records; notes in `later` those that cannot be sent yet (seconds)."""
        found: list[DeliveryRecord] = []
        rows = await self._store.hashes([keys.delivery(delivery_id) for delivery_id in ids])
        for delivery_id, fields in zip(ids, rows, strict=True):
            try:
                record = DeliveryRecord.parse(fields, delivery_id)
                if record is not None and record.delivery.state == "pending":
                    found.append(record)
                else:
                    await self._store.unplan(delivery_member(delivery_id))
            except RecordTooNew:
                later[delivery_id] = NEWER_SECONDS
            except RecordUnreadable as error:
                later[delivery_id] = _unreadable(delivery_id, error)
        return found

    async def _needs(self, deliveries: list[Delivery]) -> _Needs:
        """Reads what sending these takes, in two answers; what several have in common once."""
        lanes = list({delivery.lane for delivery in deliveries})
        events = {keys.event(delivery.event_id) for delivery in deliveries}
        api_keys = {keys.api_key(delivery.key_id) for delivery in deliveries if delivery.key_id}
        names = [*map(keys.receiver_state, lanes), *map(keys.rest, lanes), *events, *api_keys]
        [found] = await self._store.ask(("MGET", *names)) if names else [[]]
        values = dict(zip(names, found, strict=True))
        rests = await self.rests({lane for lane in lanes if values[keys.rest(lane)]})
        endpoints = await self._store.hashes([keys.endpoint(lane) for lane in lanes])
        return _Needs(values, rests, dict(zip(lanes, endpoints, strict=True)))

    async def rests(self, receivers: set[str]) -> dict[str, float]:
        """Returns the seconds for which nothing is sent to each of the receivers that rest."""
        ordered = sorted(receivers)
        left = await self._store.ask(*[("PTTL", keys.rest(receiver)) for receiver in ordered]) if ordered else []
        return {receiver: ms / 1000 for receiver, ms in zip(ordered, left, strict=True) if ms > 0}

    def note(self, change: Change, receiver: str, *, state: ReceiverState | None, rest: float) -> None:
        """Adds the receiver's state (None: as before) and rest (seconds; 0: none) to an attempt's commit."""
        if state is not None:
            change.do("SET", keys.receiver_state(receiver), state, "EX", STATE_SECONDS)
        if rest:
            change.do("SET", keys.rest(receiver), 1, "PX", int(rest * 1000))

    async def postpone(self, later: Mapping[str, float]) -> None:
        """Makes claimed deliveries due in so many seconds, unless they are not due at all any more.

        These claims are not counted: what waits for its receiver is not claimed in vain, as what ends its step is.
        """
        if later:
            now = await self._store.now_ms()
            scores = {delivery_member(name): now + int(seconds * 1000) for name, seconds in later.items()}
            async with self._store.redis.pipeline(transaction=False) as pipe:
                await pipe.zadd(keys.due("deliver"), scores, xx=True).hdel(keys.CLAIMS, *scores).execute()

    async def wake_all(self, endpoint_id: str) -> None:
        """Makes pending deliveries of a deleted or disabled endpoint due now: a step gives them up.

        Best effort: one that is claimed, or is not reached because the process ends, is given up when it is due.
        """
        index, start = keys.endpoint_deliveries(endpoint_id), 0
        while ids := await self._store.redis.zrange(index, start, start + WAKE_PAGE - 1):
            members = [delivery_member(delivery_id) for delivery_id in ids]
            claims = await self._store.redis.hmget(keys.CLAIMS, members)
            idle = dict.fromkeys((member for member, count in zip(members, claims, strict=True) if not count), 0)
            if idle:
                await self._store.redis.zadd(keys.due("deliver"), idle, xx=True)
            start += WAKE_PAGE
        await self._store.redis.publish(keys.WAKE, "deliver")


class _Needs:
    """What sending the deliveries of a claim takes. A document is parsed once, when it is first asked for.

    `values`: key → its value. `rests`: receiver → seconds. `endpoints`: the hashes of endpoints, by receiver. `event`,
    `key` and `endpoint` raise what is wrong with a document.
    """

    def __init__(
        self, values: Mapping[str, Any], rests: Mapping[str, float], endpoints: Mapping[str, dict[str, str]]
    ) -> None:
        self._values, self._rests, self._endpoints = values, rests, endpoints
        self.event, self.key, self.endpoint = cache(self._event), cache(self._key), cache(self._endpoint)

    def receiver(self, lane: str) -> tuple[ReceiverState | None, float]:
        return self._values[keys.receiver_state(lane)], self._rests.get(lane, 0.0)

    def _event(self, event_id: str) -> Event | None:
        document = self._values[keys.event(event_id)]
        return Event.model_validate_json(document) if document else None

    def _key(self, key_id: str | None) -> ApiKey | None:
        document = self._values[keys.api_key(key_id)] if key_id else None
        return ApiKey.model_validate_json(document) if document else None

    def _endpoint(self, lane: str) -> EndpointRecord | None:
        return EndpointRecord.parse(dict(self._endpoints[lane]), lane)


def _unreadable(delivery_id: str, error: Exception) -> float:
    """Logs it; returns the seconds until it is tried again. Another version of the program may read it."""
    log.error("delivery %s cannot be read and is tried again in an hour: %s", delivery_id, error)
    return UNREADABLE_SECONDS
