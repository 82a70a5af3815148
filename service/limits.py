"""Limits: no new records while Redis is nearly full, and few test webhooks at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Middleware

from service.error_responses import Handler
from service.requests import context_of
from tunehook.errors import TooManyTests

AT_ONCE = 16  #: in this process; further tests wait for a turn
OF_A_PROJECT = 2  #: running or waiting, so that no project takes all turns


class ProjectLimit:
    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._of: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, project: str) -> AsyncIterator[None]:
        """Holds one of the turns. Raises TooManyTests when the project has its two already."""
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


TEST_LIMIT: web.AppKey[ProjectLimit] = web.AppKey("test_limit", ProjectLimit)


def room_for(makes_records: Container[Handler]) -> Middleware:
    """Returns the middleware that refuses requests to these handlers, before their body, while Redis is nearly full.

    Completing an upload, cancelling, deleting and redelivering add nothing, so they are not among them.
    """

    @web.middleware
    async def _room(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.handler in makes_records:
            await context_of(request).store.redis_health.check_room()
        return await handler(request)

    return _room
