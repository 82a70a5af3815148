"""What the followers of a Redis stream share.

All followers in this process are served by one blocking XREAD for each kind of stream. Each follower has a position
of its own and no buffer but its connection's.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from aiohttp import web

from service.streams import HEARTBEAT, HEARTBEAT_SECONDS, OPEN_STREAMS, RETRY_SECONDS, OpenStreams
from tunehook.errors import StoreUnavailable
from tunehook.store.project_events import order
from tunehook.store.store import Store

ENTRIES_AT_ONCE = 500
#: The read returns at least so often: what is followed anew is part of the next one.
BLOCK_SECONDS = 0.25
#: After entries came, so that a burst of them is one read.
GATHER_SECONDS = 0.02
#: A position, and the message there.
Row = tuple[str, bytes]
log = logging.getLogger("tunehook.api")


class Followed:
    """What the followers of a stream share. `changed` is set, and replaced, when anything here changes."""

    shared = 0  #: the last messages that are kept, beside those of the last read

    def __init__(self, newest: str) -> None:
        self.newest = newest  #: the position up to which the stream was read
        self.changed = asyncio.Event()
        self.followers = 0
        self._since = newest  #: `_rows` holds all messages behind this one
        self._rows: list[Row] = []

    def add(self, position: str, rows: Sequence[Row]) -> None:
        """Adds the messages of what was read up to a position."""
        self.newest = position
        self._rows += rows
        dropped = len(self._rows) - max(len(rows), self.shared)
        if dropped > 0:
            self._since, self._rows = self._rows[dropped - 1][0], self._rows[dropped:]
        self.wake()

    def after(self, position: str) -> list[Row] | None:
        """Returns position and message of all that is behind `position`; None if some are no longer here."""
        if order(position) < order(self._since):
            return None
        return self._rows[bisect_right(self._rows, order(position), key=lambda row: order(row[0])) :]

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


F = TypeVar("F", bound=Followed)


class Followers(ABC, Generic[F]):
    """The streams of one kind that are followed in this process, and the one read that serves them."""

    def __init__(self, store: Store, streams: OpenStreams) -> None:
        self._store, self.streams = store, streams
        self._followed: dict[str, F] = {}
        self._wanted = asyncio.Event()
        streams.on_change(self._wake)

    @asynccontextmanager
    async def _following(self, name: str, begin: Callable[[], Awaitable[F]]) -> AsyncIterator[F]:
        """Follows a stream. `begin`: called unless it is followed already; may raise StoreUnavailable."""
        if name not in self._followed:
            begun = await begin()
            self._followed.setdefault(name, begun)
        followed = self._followed[name]
        followed.followers += 1
        self._wanted.set()
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                del self._followed[name]

    async def reading(self, app: web.Application) -> AsyncIterator[None]:
        """For `app.cleanup_ctx`. The read is not cancelled: redis-py may swallow that, and go on."""
        reader = asyncio.create_task(self._read())
        yield
        await reader

    async def _read(self) -> None:
        """Until the process stops; Redis may come and go."""
        while not self.streams.closing:
            if not self._followed:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                if await self._read_once(dict(self._followed)):
                    await asyncio.sleep(GATHER_SECONDS)
            except Exception as error:  # whatever it is: without this task no stream goes on
                log.warning("event streams and ?wait= stand still: Redis cannot be read: %s", error.__cause__ or error)
                await asyncio.sleep(RETRY_SECONDS)

    @abstractmethod
    async def _read_once(self, followed: dict[str, F]) -> bool:
        """Adds what is new, and waits up to BLOCK_SECONDS for it. Returns whether there was anything."""

    def _wake(self) -> None:
        self._wanted.set()
        for one in self._followed.values():
            one.wake()


async def texts(
    request: web.Request, sources: Sequence[Followed], look: Callable[[], Awaitable[list[bytes] | None]]
) -> AsyncIterator[bytes]:
    """Yields what `look` finds whenever a source has changed, and a comment where nothing came for 15 s.

    `look`: returns None when nothing will come any more.
    """
    while request.app[OPEN_STREAMS].goes_on(request):
        changed = [one.changed for one in sources]
        try:
            found = await look()
        except StoreUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if found is None:
            return
        if found:
            yield b"".join(found)
            del found
        elif not await _any(changed):
            yield HEARTBEAT


async def _any(events: Sequence[asyncio.Event]) -> bool:
    """Waits until one is set; returns False after 15 s without."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()
