"""How full Redis is. A full one refuses every script: no webhook leaves, no end is seen, and retention removes nothing,
so it would stay full. So nothing new is let in above nine tenths; the last tenth is for what was accepted before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from tunehook.errors import StoreNearlyFull
from tunehook.store.connection import unavailable

if TYPE_CHECKING:
    from tunehook.store.store import Store

LEFT_TO_STEPS = 0.1
ASK_SECONDS = 1.0


class Memory:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known_until = 0.0
        self._full = False

    async def check(self) -> None:
        """To be asked before a record is made. Raises StoreNearlyFull; Redis is asked once a second at most."""
        now = time.monotonic()
        if now >= self._known_until:
            self._known_until = now + ASK_SECONDS  # whoever comes while we ask goes by what was known
            self._full = await self._ask()
        if self._full:
            raise StoreNearlyFull(percent=round(100 * (1 - LEFT_TO_STEPS)))

    async def _ask(self) -> bool:
        try:
            with unavailable():
                found = await self._store.redis.info("memory")
        except ResponseError:
            return False  # a managed Redis may forbid to ask
        # Buffers of the append-only file are not part of what Redis holds against its limit.
        used = int(found["used_memory"]) - int(found.get("mem_not_counted_for_evict", 0))
        limit = int(found.get("maxmemory", 0))  # 0: none
        return limit > 0 and used >= (1 - LEFT_TO_STEPS) * limit
