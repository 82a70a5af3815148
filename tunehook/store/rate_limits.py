"""Requests a minute of a project, by the library `limits`: a sliding window of two counters in Redis."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from tunehook.store.engine import keys
from tunehook.store.engine.client import unavailable
from tunehook.store.engine.connection import Connection


@dataclass(frozen=True)
class Rate:
    """Whether a request may pass; how many more may now, and in how many seconds one more may."""

    passes: bool
    limit: int
    remaining: int
    reset_seconds: int


class RateLimits:
    def __init__(self, store: Connection) -> None:
        self._store = store

    async def hit(self, project: str, a_minute: int) -> Rate:
        """Counts a request of the project."""
        item = RateLimitItemPerMinute(a_minute)
        with unavailable():
            passes = await self._limiter.hit(item, project)
            window = await self._limiter.get_window_stats(item, project)
        reset = max(1, math.ceil(window.reset_time - time.time()))
        return Rate(passes, a_minute, window.remaining, reset)

    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        # The URL is not used: the connections are ours.
        pool = self._store.redis.connection_pool
        storage = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=keys.RATE_LIMITS, connection_pool=pool
        )
        return SlidingWindowCounterRateLimiter(storage)
