"""What is new, for those who wait for it: one subscription to Redis per process, however many wait, and none while
nobody does: reading every change of every job costs an API process a twentieth of what accepting them does.

A bell rings when its job has changed, or its log has. It also rings whenever the subscription was lost and is
there again: something may have happened meanwhile, and whoever hears it reads what is stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress

from aiohttp import web

from service.requests import CONTEXT, context_of
from tunehook.context import Context
from tunehook.errors import StoreUnavailable
from tunehook.model.job import Job, Stage
from tunehook.openai_format import jobs
from tunehook.store.job_log import LogEntry
from tunehook.store.jobs import JobRecord
from tunehook.store.store import Store

EVENT_ID = "ftevent-"
#: A comment so often, since proxies close connections on which nothing comes. And so often the log is read
#: without news, for the case that one was lost.
HEARTBEAT_SECONDS = 15.0
#: Whoever reads a job's events follows it: for so long, looks fetch them every time.
FOLLOW_SECONDS = 90.0
#: The last events come up to 8 s after the end and are fetched until 16 s after it.
LATE_SECONDS = 60
ENTRIES_AT_ONCE = 500
log = logging.getLogger("tunehook.api")

RETRY_SECONDS = 0.5


def wants_stream(request: web.Request) -> bool:
    """Only who names it: `*/*` is what every SDK sends."""
    return any(
        part.partition(";")[0].strip().lower() == "text/event-stream"
        for part in request.headers.get("accept", "").split(",")
    )


async def stream(request: web.Request, record: JobRecord, position: str | None) -> web.StreamResponse:
    """`position`: the last event that the reader has; None: none."""
    ctx, job_id = context_of(request), record.job.id
    if position and await _is_over(ctx, record) and not await ctx.store.job_log.after(job_id, position, 1):
        return web.Response(status=204)  # tells a browser's EventSource to stop asking
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    )
    await response.prepare(request)
    news = news_of(request)
    with news.bell(job_id) as bell, suppress(ConnectionResetError):
        reader = _Reader(ctx, job_id, position or "0-0")
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

    def __init__(self, ctx: Context, job_id: str, position: str) -> None:
        self._ctx, self._job_id, self._position = ctx, job_id, position
        self._followed_at = -FOLLOW_SECONDS
        self.over = False
        self.pause = 0.0

    async def read(self) -> bytes:
        jobs = self._ctx.store.jobs
        try:
            record = await jobs.read(self._job_id)
            await self._follow(record)
            over = await _is_over(self._ctx, record)  # asked before the log is read: nothing comes after it
            entries = await self._ctx.store.job_log.after(self._job_id, self._position, ENTRIES_AT_ONCE)
        except StoreUnavailable:
            self.pause = 1.0
            return b""
        if entries:
            self._position = entries[-1].position
        self.over = over and len(entries) < ENTRIES_AT_ONCE
        self.pause = (
            0.0 if len(entries) == ENTRIES_AT_ONCE else 1.0 if record.job.stage is Stage.SETTLED else HEARTBEAT_SECONDS
        )
        return "".join(_message(record.job, entry) for entry in entries).encode()

    async def _follow(self, record: JobRecord) -> None:
        now = asyncio.get_running_loop().time()
        if record.job.stage is not Stage.SETTLED and now - self._followed_at > FOLLOW_SECONDS / 3:
            await self._ctx.store.job_log.follow(self._job_id, FOLLOW_SECONDS)
            self._followed_at = now


async def _is_over(ctx: Context, record: JobRecord) -> bool:
    job = record.job
    if job.stage is not Stage.SETTLED:
        return False
    since_end = record.now - (job.settled_at or 0)
    return since_end > LATE_SECONDS or not await ctx.store.is_planned(record.member)


def _message(job: Job, entry: LogEntry) -> str:
    """One server-sent event. JSON has no line breaks, so `data` is one line."""
    event_id = EVENT_ID + entry.position
    return f"id: {event_id}\ndata: {json.dumps(jobs.event_object(job, event_id, entry.message))}\n\n"


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
    listener = asyncio.create_task(app[NEWS].listen(app[CONTEXT].store))
    yield
    listener.cancel()
    with suppress(asyncio.CancelledError):
        await listener


async def stop_waiting(app: web.Application) -> None:
    """For `app.on_shutdown`, which comes before the wait for requests under way."""
    app[NEWS].close()
