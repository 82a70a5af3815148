"""Serves event streams and `?wait=`, by one blocking XREAD per process for all followed jobs.

The followers of a job share the log entries that the process has read. Each has a position of its own, and reads
Redis itself where those entries do not reach back to it: nothing is missed when Redis or this process restarts.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from aiohttp import web

from service.limits import Running
from service.requests import bearer_of, caller_of, context_of
from tunehook import api_keys
from tunehook.errors import LimitReached, StoreUnavailable, TooManyStreams
from tunehook.model.api_key import ApiKey, Scope
from tunehook.model.job import Job, Stage
from tunehook.openai_format import jobs
from tunehook.openai_format.json_text import spaced
from tunehook.store.job_log import LogEntry
from tunehook.store.jobs import JobRecord
from tunehook.store.project_events import order
from tunehook.store.store import Store

#: A comment so often, since proxies close connections on which nothing comes.
HEARTBEAT_SECONDS = 15.0
#: A job whose events were read counts as followed for so long: each poll fetches its events.
FOLLOW_SECONDS = 90.0
ENTRIES_AT_ONCE = 500
#: The read returns at least so often: a job that is followed anew is part of the next one.
BLOCK_SECONDS = 0.25
#: After entries came, so that a burst of them is one read.
GATHER_SECONDS = 0.02
RETRY_SECONDS = 0.5
#: Each takes 20 KiB and a connection.
STREAMS_OF_A_KEY = 100
#: So often the keys of all streams are read: those end that their key would not open again.
KEYS_SECONDS = 5.0
log = logging.getLogger("tunehook.api")


def wants_stream(request: web.Request) -> bool:
    """Whether the client names the type: `*/*` is what every SDK sends."""
    return any(
        part.partition(";")[0].strip().lower() == "text/event-stream"
        for part in request.headers.get("accept", "").split(",")
    )


class FollowedJob:
    """What the followers of a job share. `changed` is set, and replaced, when anything here changes."""

    def __init__(self, job: Job, position: str, *, over: bool) -> None:
        self.job = job
        self.newest = position  #: of the last entry that was read
        self.settled = job.stage is Stage.SETTLED
        self.over = over  #: no more entries will come
        self.changed = asyncio.Event()
        self.followers = 0
        self.marked_at = -FOLLOW_SECONDS  #: when its log was last marked as followed
        self._since = position  #: `_messages` holds all entries after this one
        self._messages: list[tuple[str, bytes]] = []

    def add(self, job: Job, entries: list[LogEntry]) -> None:
        self.job, self._since, self.newest = job, self.newest, entries[-1].position
        self._messages = [(entry.position, _message(job, entry)) for entry in entries]

    def after(self, position: str) -> list[tuple[str, bytes]] | None:
        """Returns position and text of the entries after `position`; None if the last read lacks some."""
        if order(position) < order(self._since):
            return None
        return self._messages[bisect_right(self._messages, order(position), key=lambda row: order(row[0])) :]

    def behind(self, position: str) -> bool:
        """Returns whether entries were read that are newer than `position`."""
        return order(position) < order(self.newest)

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class FollowedJobs:
    """The jobs that are followed in this process, and the one read that serves them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, FollowedJob] = {}
        self._wanted = asyncio.Event()
        self._streams = Running()  # by key id
        self._of_projects = Running()
        self._keys_read_at = 0.0
        self._keys: dict[str, ApiKey | None] = {}  #: of the streams, as they were read last
        self.keys_changed = False  #: since the read before that: their streams may have to end
        self.closing = False

    @contextmanager
    def stream_of(self, caller: ApiKey) -> Iterator[None]:
        """Counts a stream of a key and of its project. Raises TooManyStreams, LimitReached."""
        most = self._store.projects.known(caller.project).streams
        if most is not None and self._of_projects[caller.project] >= most:
            raise LimitReached(
                most=most, what="event streams at a time", then="Close one, or use webhooks or `?wait=`."
            )
        with (
            self._streams.one_more(caller.id, STREAMS_OF_A_KEY, TooManyStreams),
            self._of_projects.one_more(caller.project, sys.maxsize, TooManyStreams),
        ):
            self._keys[caller.id] = caller
            yield

    def goes_on(self, request: web.Request) -> bool:
        """Returns whether a stream goes on: this process does, and the key that opened it would do so again.

        It would not once it is revoked, expired, rotated or without the scope. Asked every 15 s at least.
        """
        key = self._keys.get(caller_of(request).id)
        return not self.closing and api_keys.opens(key, bearer_of(request), Scope.READ)

    async def read_keys(self) -> None:
        """Reads the keys of streams anew, every 5 s."""
        now = asyncio.get_running_loop().time()
        if now - self._keys_read_at < KEYS_SECONDS:
            return
        self._keys_read_at, ids = now, list(self._streams)
        found = await asyncio.gather(*map(self._store.api_keys.get, ids))
        read = dict(zip(ids, found, strict=True))
        self.keys_changed = any(self._keys.get(key_id) != key for key_id, key in read.items())
        # A stream may have begun, or ended, meanwhile.
        self._keys = {key_id: read.get(key_id, self._keys.get(key_id)) for key_id in self._streams}
        if self.keys_changed:
            for job in self._jobs.values():
                job.wake()

    @asynccontextmanager
    async def follow(self, job: Job, *, over: bool = False) -> AsyncIterator[FollowedJob]:
        """`over`: nothing is added to its log any more. Raises StoreUnavailable."""
        if job.id not in self._jobs:
            newest, _ = await self._store.job_log.page(job.id, after=None, limit=1)
            self._jobs.setdefault(job.id, FollowedJob(job, newest[0].position if newest else "0-0", over=over))
        followed = self._jobs[job.id]
        followed.followers += 1
        self._wanted.set()
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                del self._jobs[job.id]

    async def reading(self, app: web.Application) -> AsyncIterator[None]:
        """For `app.cleanup_ctx`. The read is not cancelled: redis-py may swallow that, and go on."""
        reader = asyncio.create_task(self._read())
        yield
        await reader

    async def close(self, app: web.Application) -> None:
        """For `app.on_shutdown`: streams end, and `?wait=` answers with the job as it is."""
        self.closing = True
        self._wanted.set()
        for job in self._jobs.values():
            job.wake()

    async def _read(self) -> None:
        """Until the process stops; Redis may come and go."""
        while not self.closing:
            if not self._jobs:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                await self.read_keys()
                if await self._read_once(dict(self._jobs)):
                    await asyncio.sleep(GATHER_SECONDS)
            except Exception as error:  # whatever it is: without this task no stream goes on
                log.warning(
                    "the logs that are followed cannot be read, and are tried again: %s", error.__cause__ or error
                )
                await asyncio.sleep(RETRY_SECONDS)

    async def _read_once(self, followed: dict[str, FollowedJob]) -> bool:
        """Three commands, however many follow. Returns whether there were new entries."""
        store = self._store
        ended = await store.job_log.ended(followed)  # asked before the log is read: nothing comes after it
        for job_id in ended:
            if not followed[job_id].settled:
                followed[job_id].settled = True
                followed[job_id].wake()
        positions = {job_id: job.newest for job_id, job in followed.items()}
        found = await store.job_log.read(positions, ENTRIES_AT_ONCE, BLOCK_SECONDS)
        records = {record.job.id: record.job for record in await store.jobs.read_many(found)} if found else {}
        for job_id, job in followed.items():
            if job_id in records:
                job.add(records[job_id], found[job_id])
            elif job_id in found or ended.get(job_id, job.settled):  # a job that was removed is over too
                job.over = True
            else:
                continue
            job.wake()
        return bool(found)


FOLLOWED_JOBS: web.AppKey[FollowedJobs] = web.AppKey("followed_jobs", FollowedJobs)


async def stream(request: web.Request, record: JobRecord, position: str | None) -> web.StreamResponse:
    """Answers with the job's log as server-sent events, after `position` (None: from the beginning).

    Raises TooManyStreams, LimitReached.
    """
    with request.app[FOLLOWED_JOBS].stream_of(caller_of(request)):
        return await _stream(request, record, position)


async def _stream(request: web.Request, record: JobRecord, position: str | None) -> web.StreamResponse:
    store, job_id = context_of(request).store, record.job.id
    over = (await store.job_log.ended([job_id])).get(job_id, False)
    if position and over and not await store.job_log.after(job_id, position, 1):
        return web.Response(status=204)  # tells a browser's EventSource to stop asking
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    )
    async with request.app[FOLLOWED_JOBS].follow(record.job, over=over) as followed:
        await response.prepare(request)
        with suppress(ConnectionResetError):
            async for text in _texts(request, followed, position or "0-0"):
                await response.write(text)
    return response


async def _texts(request: web.Request, followed: FollowedJob, position: str) -> AsyncIterator[bytes]:
    """Yields what a follower gets: entries after `position`, and a comment where none came for 15 s."""
    followed_jobs, store = request.app[FOLLOWED_JOBS], context_of(request).store
    while followed_jobs.goes_on(request):
        changed, over = followed.changed, followed.over
        try:
            await mark(store, followed)
            rows = followed.after(position)
            if rows is None:
                entries = await store.job_log.after(followed.job.id, position, ENTRIES_AT_ONCE)
                rows = [(entry.position, _message(followed.job, entry)) for entry in entries]
        except StoreUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if rows:
            position = rows[-1][0]
            yield b"".join(text for _, text in rows)
        elif over:
            return
        else:
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b": still here\n\n"


async def mark(store: Store, followed: FollowedJob) -> None:
    """Lets polls fetch the job's events for as long as a client follows it."""
    now = asyncio.get_running_loop().time()
    if not followed.settled and now - followed.marked_at > FOLLOW_SECONDS / 3:
        followed.marked_at = now
        await store.job_log.follow(followed.job.id, FOLLOW_SECONDS)


async def wait_for_end(request: web.Request, record: JobRecord, seconds: float) -> JobRecord:
    """Returns the job once it has ended, or as it is after so many seconds, or when this process stops."""
    store, followed_jobs = context_of(request).store, request.app[FOLLOWED_JOBS]
    with suppress(TimeoutError, StoreUnavailable):
        async with asyncio.timeout(seconds), followed_jobs.follow(record.job) as followed:
            while not (followed.settled or followed.over or followed_jobs.closing):
                await followed.changed.wait()
    with suppress(StoreUnavailable):  # the job as it was read last
        record = await store.jobs.read(record.job.id)
    return record


def _message(job: Job, entry: LogEntry) -> bytes:
    """One server-sent event. JSON has no line breaks, so `data` is one line."""
    event = jobs.event_object(job, entry.position, entry.message)
    return f"id: {event['id']}\ndata: {spaced(event)}\n\n".encode()
