"""A job's events as they come: `text/event-stream`, from where the reader left off, until the job is over.

The stream is the stored log read forwards; news only say when to read on. So a reader misses nothing when Redis,
this process or the connection goes and comes back: it asks again with the `Last-Event-ID` that it has.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from aiohttp import web

from service.news import heard, news_of
from service.reading import world_of
from tunehook import wire
from tunehook.errors import StoreUnavailable
from tunehook.model import Job, Stage
from tunehook.store.jobs import JobRecord, LogEntry
from tunehook.world import World

EVENT_ID = "ftevent-"
#: A comment so often, since proxies close connections on which nothing comes. And so often the log is read
#: without news, for the case that one was lost.
HEARTBEAT_SECONDS = 15.0
#: Whoever reads a job's events follows it: for so long, looks fetch them every time.
FOLLOW_SECONDS = 90.0
#: The last events come up to 8 s after the end and are fetched until 16 s after it.
LATE_SECONDS = 60
AT_ONCE = 500


def wants_stream(request: web.Request) -> bool:
    """Only who names it: `*/*` is what every SDK sends."""
    return any(
        part.partition(";")[0].strip().lower() == "text/event-stream"
        for part in request.headers.get("accept", "").split(",")
    )


async def stream(request: web.Request, record: JobRecord, position: str | None) -> web.StreamResponse:
    """`position`: the last event that the reader has; None: none."""
    world, job_id = world_of(request), record.job.id
    if position and await _is_over(world, record) and not await world.store.jobs.log_behind(job_id, position, 1):
        return web.Response(status=204)  # tells a browser's EventSource to stop asking
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    )
    await response.prepare(request)
    news = news_of(request)
    with news.bell(job_id) as bell, suppress(ConnectionResetError):
        reader = _Reader(world, job_id, position or "0-0")
        quiet_since = 0.0
        while not news.closing.is_set():
            text = await reader.read()
            now = asyncio.get_running_loop().time()
            if text or now - quiet_since >= HEARTBEAT_SECONDS:
                await response.write(text or b": still here\n\n")
                quiet_since = now
            if reader.over:
                break
            await heard(bell, reader.pause)
    return response


class _Reader:
    """Reads a job's log on from a position, a piece at a time; `over` once nothing more can come."""

    def __init__(self, world: World, job_id: str, position: str) -> None:
        self._world, self._job_id, self._position = world, job_id, position
        self._followed_at = -FOLLOW_SECONDS
        self.over = False
        self.pause = 0.0

    async def read(self) -> bytes:
        jobs = self._world.store.jobs
        try:
            record = await jobs.read(self._job_id)
            await self._follow(record)
            over = await _is_over(self._world, record)  # asked before the log is read: nothing comes after it
            entries = await jobs.log_behind(self._job_id, self._position, AT_ONCE)
        except StoreUnavailable:
            self.pause = 1.0
            return b""
        if entries:
            self._position = entries[-1].position
        self.over = over and len(entries) < AT_ONCE
        self.pause = 0.0 if len(entries) == AT_ONCE else 1.0 if record.job.stage is Stage.SETTLED else HEARTBEAT_SECONDS
        return "".join(_message(record.job, entry) for entry in entries).encode()

    async def _follow(self, record: JobRecord) -> None:
        now = asyncio.get_running_loop().time()
        if record.job.stage is not Stage.SETTLED and now - self._followed_at > FOLLOW_SECONDS / 3:
            await self._world.store.jobs.follow(self._job_id, FOLLOW_SECONDS)
            self._followed_at = now


async def _is_over(world: World, record: JobRecord) -> bool:
    job = record.job
    if job.stage is not Stage.SETTLED:
        return False
    since_end = record.now - (job.settled_at or 0)
    return since_end > LATE_SECONDS or not await world.store.is_planned(record.member)


def _message(job: Job, entry: LogEntry) -> str:
    """One server-sent event. JSON has no line breaks, so `data` is one line."""
    event_id = EVENT_ID + entry.position
    return f"id: {event_id}\ndata: {json.dumps(wire.event_object(job, event_id, entry.message))}\n\n"
