"""Lanes: all deliveries to one receiver wait in its lane, and a lane is what is due.

A lane's id is its endpoint's, or for callbacks a digest of project and URL (wire.lane_of).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from tunehook.errors import LeaseTaken
from tunehook.model.api_key import ApiKey
from tunehook.model.record import RECORD_VERSION
from tunehook.model.webhook import Delivery, Event
from tunehook.store import endpoints
from tunehook.store.deliveries import DeliveryRecord
from tunehook.store.endpoints import EndpointRecord
from tunehook.store.engine import keys
from tunehook.store.engine.connection import unavailable
from tunehook.store.engine.due_queue import NEVER_PARKED, DueQueue
from tunehook.store.engine.lease import LEASE_SECONDS, Lease, Runs

log = logging.getLogger(__name__)

UNREADABLE_MS = 3_600_000


@dataclass(frozen=True)
class Parcel:
    """A delivery with all that sending needs. `key`: whose callback secret signs it, unless an endpoint's does."""

    record: DeliveryRecord
    key: ApiKey | None


@dataclass
class Taken:
    """What is due in a lane."""

    slow: bool  #: its last attempt got no answer
    endpoint: EndpointRecord | None
    parcels: list[Parcel]
    gone: list[str] = field(default_factory=list)  #: due, and expired meanwhile
    unreadable: list[str] = field(default_factory=list)

    @property
    def due(self) -> int:
        return len(self.parcels) + len(self.gone) + len(self.unreadable)


class DeliveryQueue:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def take(self, runs: Runs, lease: Lease, limit: int, *, slow: bool) -> Taken | None:
        """What is due, the longest waiting first; None while the receiver wants rest, which is then planned.

        `slow`: whether a lane is taken that gave no answer last time; else it waits among its like (None).
        Takes the lease, or goes on with it. Raises LeaseTaken.
        """
        lane, begun = receiver_of(lease.member), time.monotonic()
        answer = await runs.run(
            "lane_take",
            [keys.lane(lane), keys.lease(lease.member), keys.lane_rest(lane), keys.endpoint(lane)],
            [
                lane,
                lease.token,
                int(LEASE_SECONDS * 1000),
                limit,
                keys.due("deliver"),
                lease.member,
                int(slow),
                RECORD_VERSION,
            ],
        )
        match answer:
            case ["taken"]:
                raise LeaseTaken(record=lease.member)
            case ["rest" | "slow", *_]:
                return None
            case ["ok", was_slow, fields, *rows]:
                lease.held_from(begun)
                pairs = iter(fields)
                found = Taken(bool(was_slow), endpoints.parse(dict(zip(pairs, pairs, strict=True)), lane), [])
                _fill(found, rows)
                await self._leave_out(lane, found)
                return found
        raise AssertionError(f"lane_take.lua answered {answer!r}")

    async def claim_slow(self, limit: int) -> list[str]:
        """Lanes that gave no answer last time and are due again, as members. Others: `Connection.claim`."""
        answer = await self._store.run("claim", [keys.SLOW_DUE, keys.CLAIMS, keys.PARKED], [limit, NEVER_PARKED])
        return list(answer[0])

    async def anything_due(self) -> bool:
        now = await self._store.now_ms()
        with unavailable():
            async with self._store.redis.pipeline(transaction=False) as pipe:
                for due in (keys.due("deliver"), keys.SLOW_DUE):
                    pipe.zcount(due, "-inf", now)
                return any(await pipe.execute())

    async def leave(self, runs: Runs, lease: Lease, *, slow: bool, rest: float = 0.0) -> None:
        """Plans the lane by its first delivery. `rest`: seconds for which nothing at all is sent, whatever comes."""
        lane = receiver_of(lease.member)
        await runs.run(
            "lane_leave",
            [keys.lane(lane), keys.lease(lease.member), keys.lane_rest(lane), keys.due("deliver")],
            [lane, lease.token, lease.member, int(rest * 1000), int(slow)],
        )

    async def _leave_out(self, lane: str, found: Taken) -> None:
        """What cannot be read waits, and holds up none behind it: another version of the program may read it."""
        await self.forget(lane, found.gone)
        if found.unreadable:
            later = await self._store.now_ms() + UNREADABLE_MS
            with unavailable():
                await self._store.redis.zadd(keys.lane(lane), dict.fromkeys(found.unreadable, later), xx=True)

    async def forget(self, lane: str, delivery_ids: Iterable[str]) -> None:
        """Deliveries whose records are gone (kept for their time) are not due any more."""
        ids = list(delivery_ids)
        if ids:
            with unavailable():
                await self._store.redis.zrem(keys.lane(lane), *ids)


def receiver_of(member: str) -> str:
    return member.removeprefix("lane:")


def _fill(found: Taken, rows: list[list[str]]) -> None:
    known_keys: dict[str, ApiKey] = {}
    for delivery_id, revision, document, event, key in rows:
        if not document:
            found.gone.append(delivery_id)
            continue
        try:
            delivery = Delivery.model_validate_json(document)
            if not event:
                found.gone.append(delivery_id)
                continue
            told = Event.model_validate_json(event)
            if key and key not in known_keys:
                known_keys[key] = ApiKey.model_validate_json(key)
        except ValidationError as error:
            log.error("delivery %s cannot be read and is tried again in an hour: %s", delivery_id, error)
            found.unreadable.append(delivery_id)
            continue
        found.parcels.append(Parcel(DeliveryRecord(delivery, int(revision), told), known_keys.get(key)))
