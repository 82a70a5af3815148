"""What is new, for those who wait for it: one subscription to Redis per process, however many wait, and none while
nobody does: reading every change of every job costs an API process a twentieth of what accepting them does.

A bell rings when its job has changed, or its log has. It also rings whenever the subscription was lost and is
there again: something may have happened meanwhile, and whoever hears it reads what is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress

from aiohttp import web

from service.reading import WORLD
from tunehook.errors import StoreUnavailable
from tunehook.store import Store

log = logging.getLogger("tunehook.api")

RETRY_SECONDS = 0.5


class News:
    def __init__(self) -> None:
        self._bells: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self.closing = asyncio.Event()

    @contextmanager
    def bell(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each news of the job; who waits for it clears it before reading."""
        bell = asyncio.Event()
        self._bells[job_id].add(bell)
        self._wanted.set()
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    def ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.set()

    async def listen(self, store: Store) -> None:
        """For ever; Redis may come and go."""
        while True:
            await self._wanted.wait()
            try:
                async with aclosing(store.news(self.ring_all)) as news:
                    async for job_id in news:
                        for bell in self._bells.get(job_id, ()):
                            bell.set()
                        if not self._bells:
                            self._wanted.clear()
                            break
            except StoreUnavailable as error:
                log.warning("no news from redis: %s", error.__cause__ or error)
                await asyncio.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """The process stops: whoever waits is answered with what there is."""
        self.closing.set()
        self.ring_all()


NEWS: web.AppKey[News] = web.AppKey("news", News)


def news_of(request: web.Request) -> News:
    return request.app[NEWS]


async def heard(bell: asyncio.Event, seconds: float) -> bool:
    """Waits for the bell, and not longer; says whether it rang."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()
    rang = bell.is_set()
    bell.clear()
    return rang


async def listening(app: web.Application) -> AsyncIterator[None]:
    """For `app.cleanup_ctx`."""
    listener = asyncio.create_task(app[NEWS].listen(app[WORLD].store))
    yield
    listener.cancel()
    with suppress(asyncio.CancelledError):
        await listener


async def stop_waiting(app: web.Application) -> None:
    """For `app.on_shutdown`, which comes before the wait for requests under way."""
    app[NEWS].close()
