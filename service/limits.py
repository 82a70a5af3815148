"""Limits: no new records while Redis is nearly full, and few test webhooks at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Container, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web
from aiohttp.typedefs import Middleware

from service.error_responses import Handler
from service.requests import context_of
from tunehook.errors import RequestError, TooManyTests

AT_ONCE = 16  #: in this process; further tests wait for a turn
OF_A_PROJECT = 2  #: running or waiting, so that no project takes all turns


class Running(Counter[str]):
    """Counts what runs at a time, by project or by key."""

    @contextmanager
    def one_more(self, name: str, most: int, too_many: type[RequestError]) -> Iterator[None]:
        """Counts one while its block runs. Raises `too_many` when there are `most` already."""
        if self[name] >= most:
            raise too_many(most=most)
        self[name] += 1
        try:
            yield
        finally:
            self[name] -= 1
            if not self[name]:
                del self[name]


class ProjectLimit:
    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._of = Running()

    @asynccontextmanager
    async def turn(self, project: str) -> AsyncIterator[None]:
        """Holds one of the turns. Raises TooManyTests when the project has its two already."""
        with self._of.one_more(project, OF_A_PROJECT, TooManyTests):
            async with self._turns:
                yield


TEST_LIMIT: web.AppKey[ProjectLimit] = web.AppKey("test_limit", ProjectLimit)


def room_for(makes_records: Container[Handler]) -> Middleware:
    """Returns the middleware that refuses requests to these handlers while Redis is nearly full.

    Completing an upload, cancelling, deleting and redelivering add nothing, so they are not among them.
    """

    @web.middleware
    async def _room(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.handler in makes_records:
            await context_of(request).store.redis_health.check_room()
        return await handler(request)

    return _room
