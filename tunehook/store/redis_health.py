"""Redis' health: whether it keeps what it acknowledges, and whether it has room for new records.

A full Redis refuses every script: no webhook leaves, no job ends, and retention removes nothing, so it would stay
full. Above 90 % of its memory no new record is accepted; the last tenth is for jobs that were accepted before.
"""

from __future__ import annotations

import logging
import time

from redis.exceptions import ResponseError

from tunehook.errors import StoreMisconfigured, StoreNearlyFull
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)

NEEDED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
LEFT_TO_STEPS = 0.1
ASK_SECONDS = 1.0


class RedisHealth:
    def __init__(self, store: DueQueue) -> None:
        self._store = store
        self._known_until = 0.0
        self._full = False

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

    async def check_room(self) -> None:
        """Raises StoreNearlyFull. Called before a record is made; asks Redis at most once a second."""
        now = time.monotonic()
        if now >= self._known_until:
            self._known_until = now + ASK_SECONDS  # requests that come while we ask use the last answer
            self._full = await self._is_full()
        if self._full:
            raise StoreNearlyFull(percent=round(100 * (1 - LEFT_TO_STEPS)))

    async def _is_full(self) -> bool:
        try:
            found = await self._store.redis.info("memory")
        except ResponseError:
            return False  # a managed Redis may forbid INFO
        # Redis does not count the buffers of the append-only file against its limit.
        used = int(found["used_memory"]) - int(found.get("mem_not_counted_for_evict", 0))
        limit = int(found.get("maxmemory", 0))  # 0: none
        return limit > 0 and used >= (1 - LEFT_TO_STEPS) * limit
