"""Redis' health: its durability, its room for new records, and whether its clock runs on.

A full Redis refuses every script: no webhook leaves, no job ends, and retention removes nothing, so it would stay
full. Above 90 % of its memory no new record is accepted; the last tenth is for jobs that were accepted before.
"""

from __future__ import annotations

import json
import logging
import time

from redis.exceptions import ResponseError

from tunehook.errors import StoreMisconfigured, StoreNearlyFull, StoreNotDurable
from tunehook.model.member import QUEUES
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)

NEEDED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
LEFT_TO_STEPS = 0.1
ASK_SECONDS = 1.0
#: From here on a Redis is full for steps as well.
FULL = 0.99
#: Redis' clock may be corrected by so much; more is noticed, and shown for a day.
TOLERATED_MS, SHOWN_SECONDS = 1000, 24 * 3600
#: By how much Redis' clock may run ahead of ours from one look to the next: a look may take so long.
AHEAD_MS = 10_000
#: What expires at a time is not shortened below the length of a lease, whose holder may have renewed it meanwhile.
LEAST_MS = 15_000


class RedisHealth:
    """`strict`: whether new records are refused while Redis does not keep what it acknowledges."""

    def __init__(self, store: DueQueue) -> None:
        self._store = store
        self.strict = False
        self._known_until = 0.0
        self._used = 0.0
        self._faults: list[str] = []
        self._seen: tuple[int, float] | None = None  #: Redis' time when we looked last (ms), and ours (monotonic)

    async def shortcomings(self) -> list[str]:
        """Returns the settings to change, in words; or that a managed Redis does not allow CONFIG GET."""
        try:
            found = await self._store.redis.config_get(*NEEDED)
        except ResponseError as error:
            return [f"CONFIG GET is not allowed ({error}), so its durability is unknown"]
        return [
            f"set {name} {value} (it is {found.get(name)})"
            for name, value in NEEDED.items()
            if found.get(name) != value
        ]

    async def check_durability(self, *, strict: bool) -> None:
        """Raises StoreMisconfigured, which names the settings to change; not strict, it only warns."""
        faults = await self.shortcomings()
        if not faults:
            return
        words = "; ".join(faults)
        if strict:
            raise StoreMisconfigured(
                why=f"This Redis could lose accepted jobs: {words}. TUNEHOOK_DURABILITY=relaxed starts anyway."
            )
        log.warning("this Redis could lose jobs that were accepted: %s", words)

    async def check_replicas(self) -> None:
        """Raises CommitUnconfirmed while too few replicas confirm, StoreMisconfigured where none can be asked."""
        try:
            await self._store.confirm()
        except ResponseError as error:
            raise StoreMisconfigured(
                why=f"TUNEHOOK_REPLICAS needs the command WAITAOF (Redis 7.2 or Valkey): {error}"
            ) from error

    async def primary_since(self) -> int | None:
        """Returns since when this Redis is the primary, unix seconds; 0: always. None: no other can become it.

        Records from before may lack their last changes, where no replica had to confirm them.
        """
        if not self._store.may_fail_over:
            return None
        about, (seconds, _), noted = await self._store.ask(("INFO", "replication"), ("TIME",), ("GET", keys.PRIMARY))
        name, _, since = (noted or "").partition(" ")
        if name != about["master_replid"]:
            since = str(seconds) if noted else "0"
            await self._store.redis.set(keys.PRIMARY, f"{about['master_replid']} {since}")
        return int(since)

    async def check_room(self) -> None:
        """Raises StoreNearlyFull, StoreNotDurable, before a record is made. Asks Redis once a second at most."""
        now = time.monotonic()
        if now >= self._known_until:
            self._known_until = now + ASK_SECONDS  # requests that come while we ask use the last answer
            self._used = await self.used()
            self._faults = await self.shortcomings() if self.strict else []
        if self._faults:
            raise StoreNotDurable(why="; ".join(self._faults))
        if self._used >= 1 - LEFT_TO_STEPS:
            raise StoreNearlyFull(percent=round(100 * (1 - LEFT_TO_STEPS)))

    async def used(self) -> float:
        """Returns the part of its memory that is used, from 0; 0 if it has no limit, or does not say."""
        used, limit = await self.memory()
        return used / limit if limit else 0.0

    async def memory(self) -> tuple[int, int]:
        """Returns the bytes that count against its limit, and the limit (0: none, or it does not say)."""
        try:
            found = await self._store.redis.info("memory")
        except ResponseError:
            return 0, 0  # a managed Redis may forbid INFO
        # Redis does not count the buffers of the append-only file against its limit.
        used = int(found["used_memory"]) - int(found.get("mem_not_counted_for_evict", 0))
        return used, int(found.get("maxmemory", 0))

    # ---- the clock

    async def watch_clock(self, now: float | None = None) -> float:
        """Pulls in all that is due if Redis' clock was set back; returns by how many seconds (0: it was not).

        Called by schedulers once a second. If it was set ahead, creates of unknown outcome grow no older by that.
        `now`: seconds of this process' monotonic clock.
        """
        now = time.monotonic() if now is None else now
        due = [keys.due(queue) for queue in QUEUES]
        expected = "" if self._seen is None else str(self._seen[0] + int((now - self._seen[1]) * 1000))
        arguments = [TOLERATED_MS, SHOWN_SECONDS, expected, AHEAD_MS]
        back, seen = map(int, await self._store.run("clock", [keys.CLOCK_SEEN, keys.CLOCK_SET_BACK, *due], arguments))
        self._seen = seen, now
        if back:
            await self._shorten(back)
        return back / 1000

    async def set_back(self) -> float:
        """Returns by how many seconds Redis' clock was set back within a day."""
        return int(await self._store.redis.get(keys.CLOCK_SET_BACK) or 0) / 1000

    async def _shorten(self, back: int) -> None:
        """Takes `back` ms off the time that leases, pauses of receivers, holds and deliveries to fetch still have."""
        redis = self._store.redis
        async for name in redis.scan_iter(match=keys.pull("*"), count=1000):
            for delivery_id in await redis.zrange(name, 0, -1):
                await redis.zadd(name, {delivery_id: -back}, xx=True, incr=True)
        for pattern in (keys.lease("*"), keys.rest("*"), keys.hold("*")):
            async for name in redis.scan_iter(match=pattern, count=1000):
                left = await redis.pttl(name)
                if left <= LEAST_MS:
                    continue
                if pattern == keys.hold("*") and (value := await redis.get(name)):
                    hold = json.loads(value)
                    hold["until"] -= back // 1000
                    await redis.set(name, json.dumps(hold), keepttl=True, xx=True)
                await redis.pexpire(name, max(LEAST_MS, left - back))
