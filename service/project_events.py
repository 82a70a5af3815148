"""/v1/events: what changes in a project as server-sent events, by one blocking XREAD per process for all followers.

Followers of a project share the messages of its last changes. Each has a position of its own and no buffer but its
connection's: one that falls behind what is shared is cut off, and resumes by the id of the last event that it has.
"""

from __future__ import annotations

import asyncio
import logging
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from aiohttp import web

from service.event_stream import (
    BLOCK_SECONDS,
    ENTRIES_AT_ONCE,
    FOLLOWED_JOBS,
    GATHER_SECONDS,
    HEARTBEAT_SECONDS,
    RETRY_SECONDS,
    FollowedJob,
    FollowedJobs,
    mark,
)
from service.requests import caller_of, context_of, known_only
from tunehook.errors import InvalidParameter, StoreUnavailable
from tunehook.openai_format import jobs
from tunehook.openai_format.json_text import spaced
from tunehook.openai_format.webhooks import delivery_object
from tunehook.store.project_events import Changed, last_of_each, order
from tunehook.store.store import Store

#: Jobs whose log entries one stream may have.
MOST_JOBS = 4
#: The last messages of a project that followers share: at 2 KB each, 1 MB.
SHARED = 500
Row = tuple[str, bytes]
log = logging.getLogger("tunehook.api")


class FollowedProject:
    """What the followers of a project share. `changed` is set, and replaced, when anything here changes."""

    def __init__(self, newest: str) -> None:
        self.newest = newest
        self.changed = asyncio.Event()
        self.followers = 0
        self._since = newest  #: `_rows` holds all changes behind this one
        self._rows: list[Row] = []

    def add(self, position: str, rows: list[Row]) -> None:
        """Adds the messages of what was read up to a position."""
        self._rows += rows
        self.newest = position
        if len(self._rows) > SHARED:
            self._since = self._rows[-SHARED - 1][0]
            self._rows = self._rows[-SHARED:]
        self.wake()

    def after(self, position: str) -> list[Row] | None:
        """Returns position and message of the changes behind `position`; None if some are no longer here."""
        if order(position) < order(self._since):
            return None
        return self._rows[bisect_right(self._rows, order(position), key=lambda row: order(row[0])) :]

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class FollowedProjects:
    """The projects that are followed in this process, and the one read that serves them."""

    def __init__(self, store: Store, followed_jobs: FollowedJobs) -> None:
        self._store, self._jobs = store, followed_jobs
        self._projects: dict[str, FollowedProject] = {}
        self._wanted = asyncio.Event()

    @asynccontextmanager
    async def follow(self, project: str) -> AsyncIterator[FollowedProject]:
        """Raises StoreUnavailable."""
        if project not in self._projects:
            newest = await self._store.project_events.newest(project)
            self._projects.setdefault(project, FollowedProject(newest))
        followed = self._projects[project]
        followed.followers += 1
        self._wanted.set()
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                del self._projects[project]

    async def reading(self, app: web.Application) -> AsyncIterator[None]:
        """For `app.cleanup_ctx`, like that of FollowedJobs."""
        reader = asyncio.create_task(self._read())
        yield
        await reader

    async def close(self, app: web.Application) -> None:
        """For `app.on_shutdown`, behind that of FollowedJobs."""
        self._wanted.set()
        self._wake_all()

    def _wake_all(self) -> None:
        for project in self._projects.values():
            project.wake()

    async def _read(self) -> None:
        while not self._jobs.closing:
            if not self._projects:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                await self._jobs.read_keys()
                if self._jobs.keys_changed:
                    self._wake_all()
                if await self._read_once(dict(self._projects)):
                    await asyncio.sleep(GATHER_SECONDS)
            except Exception as error:  # whatever it is: without this task no stream goes on
                log.warning("the projects that are followed cannot be read: %s", error.__cause__ or error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read_once(self, followed: dict[str, FollowedProject]) -> bool:
        positions = {project: one.newest for project, one in followed.items()}
        found = await self._store.project_events.read(positions, ENTRIES_AT_ONCE, BLOCK_SECONDS)
        for project, changes in found.items():
            followed[project].add(changes[-1].position, await messages(self._store, changes))
        return bool(found)


FOLLOWED_PROJECTS: web.AppKey[FollowedProjects] = web.AppKey("followed_projects", FollowedProjects)


async def messages(store: Store, changes: Iterable[Changed]) -> list[Row]:
    """Returns a message, without its id, for each record that has changed, as it is now; none for a deleted one."""
    last = last_of_each(changes)
    records = await store.jobs.read_many(one.id for one in last if one.kind == "job")
    deliveries = await store.deliveries.read_many(one.id for one in last if one.kind == "delivery")
    shown: dict[tuple[str, str], object] = {}
    for record in records:
        cancelled = record.cancel_requested_at
        shown["job", record.job.id] = jobs.job_object(
            record.job, revision=record.revision, cancel_requested_at=cancelled
        )
    for delivery in deliveries:
        shown["delivery", delivery.delivery.id] = delivery_object(delivery.delivery)
    return [(one.position, _message(one.kind, shown[one.kind, one.id])) for one in last if (one.kind, one.id) in shown]


async def stream(request: web.Request) -> web.StreamResponse:
    """Answers with a project's changes behind `Last-Event-ID`, or from now on. Raises TooManyStreams."""
    known_only(request, "jobs")
    store, caller = context_of(request).store, caller_of(request)
    ids = list(dict.fromkeys(filter(None, request.query.get("jobs", "").split(","))))
    if len(ids) > MOST_JOBS:
        raise InvalidParameter(param="jobs", why=f"{MOST_JOBS} are the most in one stream")
    records = [await store.jobs.read(job_id, caller.project) for job_id in ids]
    last = _positions(request.headers.get("last-event-id"))
    followed_jobs = request.app[FOLLOWED_JOBS]
    with followed_jobs.stream_of(caller):
        async with AsyncExitStack() as stack:
            project = await stack.enter_async_context(request.app[FOLLOWED_PROJECTS].follow(caller.project))
            logs = {
                record.job.id: await stack.enter_async_context(followed_jobs.follow(record.job)) for record in records
            }
            follower = Follower(request, project, logs, last)
            begin = await follower.begin()
            response = web.StreamResponse(
                headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
            )
            await response.prepare(request)
            with suppress(ConnectionResetError):
                await response.write(begin)
                async for text in follower.texts():
                    await response.write(text)
            return response


class Follower:
    """One stream: where it is in the project's changes, and in the logs of its jobs."""

    def __init__(
        self, request: web.Request, project: FollowedProject, logs: dict[str, FollowedJob], last: dict[str, str]
    ) -> None:
        self._request, self._project, self._logs = request, project, logs
        self._name, self._store = caller_of(request).project, context_of(request).store
        self._resumed = "" in last
        self._at = {"": last.get("", project.newest)}
        self._at |= {job_id: last.get(job_id, followed.newest) for job_id, followed in logs.items()}

    async def begin(self) -> bytes:
        """Returns the first event: `ready`, or `reset` if changes behind the last one received are lost."""
        kind = "ready"
        if self._resumed and not await self._store.project_events.reaches_back_to(self._name, self._at[""]):
            kind, self._at[""] = "reset", self._project.newest
        return self._with_id(_message(kind, {"object": f"events.{kind}"}))

    async def texts(self) -> AsyncIterator[bytes]:
        """Yields what the follower gets, and a comment where nothing came for 15 s, until it is cut off."""
        followed, caught_up = self._request.app[FOLLOWED_JOBS], False
        while followed.goes_on(self._request):
            changed = [self._project.changed, *(one.changed for one in self._logs.values())]
            try:
                rows = self._project.after(self._at[""])
                if rows is None and caught_up:
                    return  # it reads too slowly: it resumes by its last id
                if rows is None:
                    changes = await self._store.project_events.after(self._name, self._at[""], ENTRIES_AT_ONCE)
                    rows = await messages(self._store, changes)
                    rows += [(changes[-1].position, b"")] if changes else []
                else:
                    caught_up = True
                found = [(("", position), text) for position, text in rows]
                found += [row for job_id in self._logs for row in await self._entries(job_id)]
            except StoreUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if found:
                yield b"".join(self._moved(*row) for row in found)
            elif not await _any(changed):
                yield b": still here\n\n"

    async def _entries(self, job_id: str) -> list[tuple[tuple[str, str], bytes]]:
        followed, position = self._logs[job_id], self._at[job_id]
        await mark(self._store, followed)
        entries = (
            await self._store.job_log.after(job_id, position, ENTRIES_AT_ONCE) if followed.behind(position) else []
        )
        return [
            (
                (job_id, one.position),
                _message(
                    "log",
                    {
                        "fine_tuning_job_id": job_id,
                        "event": jobs.event_object(followed.job, one.position, one.message),
                    },
                ),
            )
            for one in entries
        ]

    def _moved(self, place: tuple[str, str], text: bytes) -> bytes:
        """Returns a message with its id; without a text, only the position moves."""
        name, position = place
        self._at[name] = position
        return self._with_id(text) if text else b""

    def _with_id(self, text: bytes) -> bytes:
        """The id says where to go on in each stream: `<changes>;<job>=<log>;…`."""
        parts = [self._at[""], *(f"{name}={position}" for name, position in self._at.items() if name)]
        return f"id: {';'.join(parts)}\n".encode() + text


async def _any(events: list[asyncio.Event]) -> bool:
    """Waits until one is set; returns False after 15 s without."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()


def _message(kind: str, value: object) -> bytes:
    """One server-sent event without its id. JSON has no line breaks, so `data` is one line."""
    return f"event: {kind}\ndata: {spaced(value)}\n\n".encode()


def _positions(text: str | None) -> dict[str, str]:
    """Returns the positions in a `Last-Event-ID`, the project's under ""; none without one."""
    if not text:
        return {}
    first, *rest = text.split(";")
    parts = [("", first), *((name, position) for name, _, position in (part.partition("=") for part in rest))]
    # Redis takes two numbers of 64 bits, and anything else as an error.
    if not all(re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", position, re.ASCII) for _, position in parts):
        raise InvalidParameter(param="Last-Event-ID", why="it must be the id of an event of this stream")
    return dict(parts)
