"""Limits: a project's requests and bytes, no new records while Redis is nearly full, few test webhooks at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Container, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web
from aiohttp.typedefs import Middleware

from service.error_responses import Handler
from service.requests import caller_of, context_of
from tunehook.errors import LimitReached, RateReached, RequestError, StoreUnavailable, TooManyTests
from tunehook.files import ingest
from tunehook.model.file import File
from tunehook.store.rate_limits import Rate, RateLimits

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


RATE_LIMITS: web.AppKey[RateLimits] = web.AppKey("rate_limits", RateLimits)
RATE: web.RequestKey[Rate] = web.RequestKey("rate", Rate)


async def count_request(request: web.Request, project: str) -> None:
    """Counts a request of a project that has such a limit. Raises RateReached."""
    a_minute = context_of(request).store.projects.known(project).requests_per_minute
    if a_minute is not None:
        try:
            request[RATE] = rate = await request.app[RATE_LIMITS].hit(project, a_minute)
        except StoreUnavailable:  # full, perhaps: reads still work
            return
        if not rate.passes:
            raise RateReached(most=f"{a_minute:,}", seconds=rate.reset_seconds)


async def tell_rate(request: web.Request, response: web.StreamResponse) -> None:
    """Adds the RateLimit headers of a project that has such a limit. A signal handler (`on_response_prepare`)."""
    rate = request.get(RATE)
    if rate is not None:
        response.headers["ratelimit-limit"] = str(rate.limit)
        response.headers["ratelimit-remaining"] = str(rate.remaining)
        response.headers["ratelimit-reset"] = str(rate.reset_seconds)


async def check_kept(request: web.Request, *made: File) -> None:
    """Discards files that were recorded a moment ago if those that came before them left no room. Raises LimitReached.

    Several that arrive at once have all passed the check before; the first of them stay.
    """
    try:
        await check_stored_bytes(request, made[-1].bytes, before=made[-1].id)
    except LimitReached:
        for file in made:
            await ingest.discard(context_of(request).files, file)
        raise


async def check_stored_bytes(request: web.Request, size: int, before: str | None = None) -> None:
    """Raises LimitReached when the project's files and open uploads would take more than its limit with `size` more.

    `before`: counts only files that came before this one.
    """
    store, project = context_of(request).store, caller_of(request).project
    most = store.projects.known(project).stored_bytes
    if most is None:
        return
    announced = await store.uploads.open_bytes(project)  # read first: one that is completed now counts twice, not never
    if announced + await store.files.total_bytes(project, before) + size > most:
        raise LimitReached(most=f"{most:,}", what="stored bytes", then="Delete files that are not needed any more.")


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
