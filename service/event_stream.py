"""Serves the log of a job as an event stream, and `?wait=`.

The followers of a job share the log entries that the process has read, and read Redis themselves where those do not
reach back to their position: nothing is missed when Redis or this process restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, suppress

from aiohttp import web

from service import followers, streams
from service.followers import BLOCK_SECONDS, ENTRIES_AT_ONCE, Followed, Followers, Row
from service.requests import context_of
from service.streams import OPEN_STREAMS
from tunehook.errors import StoreUnavailable
from tunehook.model.job import Job, Stage
from tunehook.openai_format import jobs
from tunehook.openai_format.json_text import spaced
from tunehook.store.job_log import LogEntry
from tunehook.store.jobs import JobRecord
from tunehook.store.project_events import START

#: A job whose events were read counts as followed for so long: each poll fetches its events.
FOLLOW_SECONDS = 90.0


class FollowedJob(Followed):
    """A job whose log is followed; its messages are events in JSON."""

    def __init__(self, job: Job, newest: str, *, over: bool) -> None:
        super().__init__(newest)
        self.job = job
        self.settled = job.stage is Stage.SETTLED
        self.over = over  #: no more entries will come
        self.marked_at = -FOLLOW_SECONDS  #: when its log was last marked as followed


class FollowedJobs(Followers[FollowedJob]):
    """The jobs whose logs are followed in this process."""

    def follow(self, job_id: str) -> AbstractAsyncContextManager[FollowedJob]:
        """Raises JobNotFound, StoreUnavailable."""

        async def _begin() -> FollowedJob:
            job = (await self._store.jobs.read(job_id)).job
            ended = await self._store.job_log.ended([job_id])
            newest, _ = await self._store.job_log.page(job_id, after=None, limit=1)
            return FollowedJob(job, newest[0].position if newest else START, over=ended.get(job_id, False))

        return self._following(job_id, _begin)

    async def rows(self, followed: FollowedJob, position: str) -> list[Row]:
        """Returns position and event of the entries behind `position`, and has polls fetch the job's events."""
        now = asyncio.get_running_loop().time()
        if not followed.settled and now - followed.marked_at > FOLLOW_SECONDS / 3:
            followed.marked_at = now
            await self._store.job_log.follow(followed.job.id, FOLLOW_SECONDS)
        rows = followed.after(position)
        if rows is not None:
            return rows
        return _rows(followed.job, await self._store.job_log.after(followed.job.id, position, ENTRIES_AT_ONCE))

    async def _read_once(self, followed: dict[str, FollowedJob]) -> bool:
        """Three commands, however many follow."""
        store = self._store
        ended = await store.job_log.ended(followed)  # asked before the log is read: nothing comes after it
        for job_id in ended:
            if not followed[job_id].settled:
                followed[job_id].settled = True
                followed[job_id].wake()
        positions = {job_id: job.newest for job_id, job in followed.items()}
        found = await store.job_log.read(positions, ENTRIES_AT_ONCE, BLOCK_SECONDS)
        records = {record.job.id: record.job for record in await store.jobs.read_many(found)} if found else {}
        for job_id, one in followed.items():
            if job_id in records:
                one.job = records[job_id]
                one.add(found[job_id][-1].position, _rows(one.job, found[job_id]))
            elif job_id in found or ended.get(job_id, one.settled):  # a job that was removed is over too
                one.over = True
                one.wake()
        return bool(found)


FOLLOWED_JOBS: web.AppKey[FollowedJobs] = web.AppKey("followed_jobs", FollowedJobs)


def _rows(job: Job, entries: Iterable[LogEntry]) -> list[Row]:
    """JSON has no line breaks, so that an event is one line."""
    return [(one.position, spaced(jobs.event_object(job, one.position, one.message)).encode()) for one in entries]


async def stream(request: web.Request, job_id: str, position: str | None) -> web.StreamResponse:
    """Answers with the job's log as server-sent events, after `position` (None: from the beginning).

    Takes no job: one of its own for each of 2,000 streams is 18 MB. Raises TooManyStreams, LimitReached, JobNotFound.
    """
    with request.app[OPEN_STREAMS].one_more(request):
        return await _stream(request, job_id, position)


async def _stream(request: web.Request, job_id: str, position: str | None) -> web.StreamResponse:
    log = context_of(request).store.job_log
    if position and (await log.ended([job_id])).get(job_id) and not await log.after(job_id, position, 1):
        return web.Response(status=204)  # tells a browser's EventSource to stop asking
    followed_jobs, last = request.app[FOLLOWED_JOBS], position or START
    async with followed_jobs.follow(job_id) as followed:

        async def _look() -> list[bytes] | None:
            nonlocal last
            over = followed.over
            rows = await followed_jobs.rows(followed, last)
            if not rows:
                return None if over else []
            last = rows[-1][0]
            return [b"id: %b%b\ndata: %b\n\n" % (jobs.EVENT_ID.encode(), at.encode(), event) for at, event in rows]

        return await streams.send(request, followers.texts(request, [followed], _look))


async def wait_for_end(request: web.Request, record: JobRecord, seconds: float) -> JobRecord:
    """Returns the job once it has ended, or as it is after so many seconds, or when this process stops."""
    store, closing = context_of(request).store, request.app[OPEN_STREAMS]
    with suppress(TimeoutError, StoreUnavailable):
        async with asyncio.timeout(seconds), request.app[FOLLOWED_JOBS].follow(record.job.id) as followed:
            while not (followed.settled or followed.over or closing.closing):
                await followed.changed.wait()
    with suppress(StoreUnavailable):  # the job as it was read last
        record = await store.jobs.read(record.job.id)
    return record
