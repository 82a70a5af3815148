"""Server-sent events: which streams are open and go on, and what the followers of a Redis stream share.

All followers in this process are served by one blocking XREAD for each kind of stream. Each follower has a position
of its own and no buffer but its connection's.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Generic, TypeVar

from aiohttp import web

from service.limits import Running
from service.requests import CALLER, bearer_of, caller_of
from tunehook import api_keys
from tunehook.errors import LimitReached, StoreUnavailable, TooManyStreams
from tunehook.model.api_key import ApiKey, Scope
from tunehook.store.project_events import order
from tunehook.store.store import Store

#: A comment so often, since proxies close connections on which nothing comes.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": still here\n\n"
ENTRIES_AT_ONCE = 500
#: The read returns at least so often: what is followed anew is part of the next one.
BLOCK_SECONDS = 0.25
#: After entries came, so that a burst of them is one read.
GATHER_SECONDS = 0.02
RETRY_SECONDS = 0.5
#: Each takes 20 KiB and a connection.
STREAMS_OF_A_KEY = 100
#: So often the keys of all streams are read: those end that their key would not open again.
KEYS_SECONDS = 5.0
#: A position, and the message there.
Row = tuple[str, bytes]
log = logging.getLogger("tunehook.api")


def wants_stream(request: web.Request) -> bool:
    """Whether the client names the type: `*/*` is what every SDK sends."""
    return any(
        part.partition(";")[0].strip().lower() == "text/event-stream"
        for part in request.headers.get("accept", "").split(",")
    )


async def send(request: web.Request, texts: AsyncIterator[bytes]) -> web.StreamResponse:
    """Answers with events as they come, until there are no more or the client goes."""
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    )
    await response.prepare(request)
    with suppress(ConnectionResetError):
        async for text in texts:
            await response.write(text)
            del text  # not kept while the next is waited for: a whole log may be in it, and 2,000 streams be open
    return response


class OpenStreams:
    """The streams that are open in this process, by key and by project, and whether they go on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of_keys, self._of_projects = Running(), Running()
        self._keys: dict[str, ApiKey | None] = {}  #: of the streams, as they were read last
        self._closing = asyncio.Event()
        self._wakers: list[Callable[[], None]] = []

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def on_change(self, wake: Callable[[], None]) -> None:
        """Has `wake` called when streams may have to end."""
        self._wakers.append(wake)

    @contextmanager
    def one_more(self, request: web.Request) -> Iterator[None]:
        """Counts a stream of a key and of its project. Raises TooManyStreams, LimitReached."""
        caller = caller_of(request)
        most = self._store.projects.known(caller.project).streams
        if most is not None and self._of_projects[caller.project] >= most:
            raise LimitReached(
                most=most, what="event streams at a time", then="Close one, or use webhooks or `?wait=`."
            )
        with (
            self._of_keys.one_more(caller.id, STREAMS_OF_A_KEY, TooManyStreams),
            self._of_projects.one_more(caller.project, sys.maxsize, TooManyStreams),
        ):
            kept = self._keys.get(caller.id)
            caller = kept if kept and kept == caller else caller  # one object for all streams of a key: it takes 2 KiB
            self._keys[caller.id] = request[CALLER] = caller
            yield

    def goes_on(self, request: web.Request, scope: Scope = Scope.READ) -> bool:
        """Returns whether a stream goes on: this process does, and the key that opened it would do so again.

        It would not once it is revoked, expired, rotated or without the scope. Asked every 15 s at least.
        """
        return not self.closing and api_keys.opens(self._keys.get(caller_of(request).id), bearer_of(request), scope)

    async def watching(self, app: web.Application) -> AsyncIterator[None]:
        """Reads the keys of streams anew, every 5 s. For `app.cleanup_ctx`."""
        watcher = asyncio.create_task(self._watch())
        yield
        await watcher

    async def close(self, app: web.Application) -> None:
        """For `app.on_shutdown`: streams end, and `?wait=` answers with the job as it is."""
        self._closing.set()
        self._wake()

    async def _watch(self) -> None:
        while not self.closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), KEYS_SECONDS)
            try:
                await self._read_keys()
            except Exception as error:  # whatever it is: without this task a revoked key's streams go on
                log.warning("the keys of streams cannot be read, and are tried again: %s", error.__cause__ or error)

    async def _read_keys(self) -> None:
        ids = list(self._of_keys)
        found = await asyncio.gather(*map(self._store.api_keys.get, ids))
        read = dict(zip(ids, found, strict=True))
        changed = any(self._keys.get(key_id) != key for key_id, key in read.items())
        # A stream may have begun, or ended, meanwhile.
        self._keys = {key_id: read.get(key_id, self._keys.get(key_id)) for key_id in self._of_keys}
        if changed:
            self._wake()

    def _wake(self) -> None:
        for wake in self._wakers:
            wake()


OPEN_STREAMS: web.AppKey[OpenStreams] = web.AppKey("open_streams", OpenStreams)


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
                log.warning("what is followed cannot be read, and is tried again: %s", error.__cause__ or error)
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
