"""Event log: copies an upstream's events into our log, each once, and publishes checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from tunehook.context import Context
from tunehook.errors import (
    Conflict,
    JobNotFound,
    RecordTooNew,
    RecordUnreadable,
    TunehookError,
    UpstreamError,
    UpstreamRefused,
)
from tunehook.model.job import Job, Message
from tunehook.openai_format import jobs
from tunehook.store.engine.commit import LOG_KEPT
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing

#: Pages of 100 are read back to a known event; of more than this since the last poll, the oldest are lost.
PAGES = 100
AT_ONCE = 8


async def fetch(ctx: Context, job: Job) -> int:
    """Reads the job's events, newest first, back to one that is in the log. Returns how many were new.

    The page with the known event is taken whole: events of the same second may change places. A page of what was read
    before is the answer of an upstream that does not page by its events' ids.
    """
    if not job.upstream_job_id:
        return 0
    upstream = ctx.upstreams[job.upstream]
    found: list[Message] = []
    after: str | None = None
    contents: set[str] = set()
    for _ in range(PAGES):
        try:
            page, more = await upstream.events(job.upstream_job_id, after)
        except UpstreamRefused:
            if after is None:
                raise
            break  # it does not know its own event's id any more
        told = {message.content_sha256 for message in page}
        if len(told & contents) * 2 > len(told):
            break
        contents |= told
        found += page
        if len(found) >= LOG_KEPT or not more or not page or await ctx.store.job_log.reaches_known(job.id, page):
            break
        after = page[-1].upstream_event_id
    # The list is newest first within a second, too, so it is reversed before the stable sort.
    in_order = sorted(reversed(found), key=lambda message: message.created_at)
    new = await ctx.store.job_log.append(job.id, in_order)
    # OpenAI's words: "Checkpoint created at step 90".
    if new and any("checkpoint" in message.message.lower() for message in in_order):
        await publish_checkpoints(ctx, job)
    return new


async def fetch_for(ctx: Context, jobs: Iterable[Job]) -> list[TunehookError]:
    """Fetches for several jobs, eight at a time. Errors are returned: one job's spoils no poll."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def _one(job: Job) -> TunehookError | None:
        async with gate:
            try:
                await fetch(ctx, job)
            except (UpstreamError, JobNotFound, RecordTooNew, RecordUnreadable) as error:
                return error
            return None

    return [error for error in await asyncio.gather(*(_one(job) for job in jobs)) if error]


async def publish_checkpoints(ctx: Context, job: Job) -> None:
    """Publishes each checkpoint once, in the order of its steps. Raises UpstreamError."""
    record = await ctx.store.jobs.read(job.id)
    job = record.job
    upstream = ctx.upstreams.get(job.upstream)
    if not job.upstream_job_id or upstream is None:
        return
    if not await publishing.has_subscribers(ctx.webhooks, job.project, event_types.CHECKPOINT):
        return
    answer = await upstream.checkpoints(job.upstream_job_id, after=None, limit=100)
    rows = [row for row in answer["data"] if isinstance(row.get("step_number"), int)]
    for row in sorted(rows, key=lambda row: int(row["step_number"])):
        while not await _publish_checkpoint(ctx, record, row):  # the job was changed meanwhile
            record = await ctx.store.jobs.read(job.id)
        record = await ctx.store.jobs.read(job.id)


async def _publish_checkpoint(ctx: Context, record: JobRecord, row: dict[str, Any]) -> bool:
    """Publishes a checkpoint, if it was not yet. Returns False when the record was changed meanwhile."""
    job = record.job
    if row["step_number"] <= job.checkpoint_told:
        return True
    published = job.model_copy(update={"checkpoint_told": row["step_number"]})
    change = record.change(published)
    about = {
        "id": job.id,
        "checkpoint": jobs.checkpoint_object(job, row),
        "metadata": job.spec.metadata,
        "tunehook": {"sequence": record.revision + 1},
    }
    await publishing.publish(ctx.webhooks, change, published, event_types.CHECKPOINT, now=record.now, about=about)
    try:
        await ctx.store.commit(change)
    except Conflict:
        return False
    return True
