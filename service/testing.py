"""How many test webhooks run at a time. Each has a client of its own, and a thread while a name server hangs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tunehook.errors import TooManyTests

AT_ONCE = 16  #: in this process; whoever comes then waits for a turn
OF_A_PROJECT = 2  #: under way or waiting, so that no project takes all turns


class Turns:
    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._of: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, project: str) -> AsyncIterator[None]:
        """Raises TooManyTests."""
        if self._of[project] >= OF_A_PROJECT:
            raise TooManyTests(most=OF_A_PROJECT)
        self._of[project] += 1
        try:
            async with self._turns:
                yield
        finally:
            self._of[project] -= 1
            if not self._of[project]:
                del self._of[project]


TURNS: web.AppKey[Turns] = web.AppKey("turns", Turns)
