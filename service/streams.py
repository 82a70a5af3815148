"""Server-sent events: how they are sent, which streams are open, and which of them go on."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from service.limits import Running
from service.requests import CALLER, STREAMED, accepts, bearer_of, caller_of
from tunehook import api_keys
from tunehook.errors import LimitReached, TooManyStreams
from tunehook.model.api_key import ApiKey, Scope
from tunehook.store.store import Store

#: A comment so often, since proxies close connections on which nothing comes.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": still here\n\n"
RETRY_SECONDS = 0.5
#: Each takes 20 KiB and a connection.
STREAMS_OF_A_KEY = 100
#: So often the keys of all streams are read: those end that their key would not open again.
KEYS_SECONDS = 5.0
log = logging.getLogger("tunehook.api")


def wants_stream(request: web.Request) -> bool:
    return accepts(request, "text/event-stream")


def is_position(text: str) -> bool:
    """Whether a text is a position: Redis takes two numbers of 64 bits, and anything else as an error."""
    return re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", text, re.ASCII) is not None


async def send(request: web.Request, texts: AsyncIterator[bytes]) -> web.StreamResponse:
    """Answers with events as they come, until there are no more or the client goes."""
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    )
    await response.prepare(request)
    request[STREAMED] = True
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
                log.warning("the API keys of event streams cannot be checked now: %s", error.__cause__ or error)

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
