"""/v1/events: what changes in a project as server-sent events.

Followers of a project share the messages of its last changes. One that falls behind those is cut off, and resumes by
the id of the last event that it has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from aiohttp import web

from service import followers, streams
from service.answers import job_shown
from service.event_stream import FOLLOWED_JOBS, FollowedJob
from service.followers import BLOCK_SECONDS, ENTRIES_AT_ONCE, Followed, Followers, Row
from service.requests import caller_of, context_of, known_only
from service.streams import OPEN_STREAMS, is_position
from tunehook.errors import InvalidParameter
from tunehook.openai_format.json_text import spaced
from tunehook.openai_format.webhooks import delivery_object
from tunehook.store.project_events import Changed, last_of_each
from tunehook.store.store import Store

#: Jobs whose log entries one stream may have.
MOST_JOBS = 4
#: The last messages of a project that followers share: at 2 KB each, 1 MB.
SHARED = 500


class FollowedProject(Followed):
    """A project whose changes are followed; its messages are events without their id."""

    shared = SHARED


class FollowedProjects(Followers[FollowedProject]):
    """The projects that are followed in this process."""

    def follow(self, project: str) -> AbstractAsyncContextManager[FollowedProject]:
        """Raises StoreUnavailable."""

        async def _begin() -> FollowedProject:
            return FollowedProject(await self._store.project_events.newest(project))

        return self._following(project, _begin)

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
        shown["job", record.job.id] = job_shown(record)
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
    with request.app[OPEN_STREAMS].one_more(request):
        async with AsyncExitStack() as stack:
            project = await stack.enter_async_context(request.app[FOLLOWED_PROJECTS].follow(caller.project))
            logs = [await stack.enter_async_context(followed_jobs.follow(record.job.id)) for record in records]
            follower = Follower(request, project, logs, last)
            return await streams.send(request, follower.texts(await follower.begin()))


class Follower:
    """One stream: where it is in the project's changes, and in the logs of its jobs."""

    def __init__(
        self, request: web.Request, project: FollowedProject, logs: list[FollowedJob], last: dict[str, str]
    ) -> None:
        self._request, self._project, self._logs = request, project, logs
        self._name, self._store = caller_of(request).project, context_of(request).store
        self._resumed, self._caught_up = "" in last, False
        self._at = {"": last.get("", project.newest)}
        self._at |= {one.job.id: last.get(one.job.id, one.newest) for one in logs}

    async def begin(self) -> bytes:
        """Returns the first event: `ready`, or `reset` if changes behind the last one received are lost."""
        kind = "ready"
        if self._resumed and not await self._store.project_events.reaches_back_to(self._name, self._at[""]):
            kind, self._at[""] = "reset", self._project.newest
        return self._with_id(_message(kind, {"object": f"events.{kind}"}))

    async def texts(self, begin: bytes) -> AsyncIterator[bytes]:
        """Yields what the follower gets, `begin` first."""
        yield begin
        async for text in followers.texts(self._request, [self._project, *self._logs], self._look):
            yield text

    async def _look(self) -> list[bytes] | None:
        """Returns what is behind the follower's positions; None if it reads too slowly: it resumes by its last id."""
        rows = self._project.after(self._at[""])
        if rows is None and self._caught_up:
            return None
        if rows is None:
            changes = await self._store.project_events.after(self._name, self._at[""], ENTRIES_AT_ONCE)
            rows = await messages(self._store, changes)
            rows += [(changes[-1].position, b"")] if changes else []
        else:
            self._caught_up = True
        found = [("", *row) for row in rows]
        for one in self._logs:
            entries = await self._request.app[FOLLOWED_JOBS].rows(one, self._at[one.job.id])
            found += [(one.job.id, position, _log_message(one.job.id, event)) for position, event in entries]
        return [self._moved(*row) for row in found]

    def _moved(self, name: str, position: str, text: bytes) -> bytes:
        """Returns a message with its id; without a text, only the position moves."""
        self._at[name] = position
        return self._with_id(text) if text else b""

    def _with_id(self, text: bytes) -> bytes:
        """The id says where to go on in each stream: `<changes>;<job>=<log>;…`."""
        parts = [self._at[""], *(f"{name}={position}" for name, position in self._at.items() if name)]
        return f"id: {';'.join(parts)}\n".encode() + text


def _log_message(job_id: str, event: bytes) -> bytes:
    return b'event: log\ndata: {"fine_tuning_job_id": "%b", "event": %b}\n\n' % (job_id.encode(), event)


def _message(kind: str, value: object) -> bytes:
    """One server-sent event without its id. JSON has no line breaks, so `data` is one line."""
    return f"event: {kind}\ndata: {spaced(value)}\n\n".encode()


def _positions(text: str | None) -> dict[str, str]:
    """Returns the positions in a `Last-Event-ID`, the project's under ""; none without one."""
    if not text:
        return {}
    first, *rest = text.split(";")
    parts = [("", first), *((name, position) for name, _, position in (part.partition("=") for part in rest))]
    if not all(is_position(position) for _, position in parts):
        raise InvalidParameter(param="Last-Event-ID", why="it must be the id of an event of this stream")
    return dict(parts)
