"""Commands: cancel a job at any stage; pause and resume are passed to its upstream."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from tunehook.context import Context
from tunehook.errors import (
    Conflict,
    JobAlreadyEnded,
    JobNotSteered,
    RevisionChanged,
    UpstreamError,
    UpstreamRefused,
)
from tunehook.jobs import tracking
from tunehook.jobs.finishing import settle
from tunehook.model.job import Stage
from tunehook.openai_format import jobs
from tunehook.store.engine.commit import optimistic_update
from tunehook.store.jobs import JobRecord
from tunehook.upstreams.protocol import Upstream

Verb = Literal["pause", "resume"]
_DONE: dict[Verb, str] = {"pause": "paused", "resume": "resumed"}


async def pause_or_resume(ctx: Context, job_id: str, project: str, verb: Verb) -> JobRecord:
    """Returns the job as the upstream shows it afterwards. Raises JobNotSteered, UpstreamError."""
    record = await ctx.store.jobs.read(job_id, project)
    job = record.job
    what = _DONE[verb]
    if job.stage is Stage.SETTLED:
        raise JobNotSteered(id=job_id, what=what, why=f"it has already ended ({job.status})")
    upstream = ctx.upstreams.get(job.upstream)
    if job.stage is not Stage.TRACKED or not job.upstream_job_id or upstream is None:
        why = f"the upstream does not have it yet (its stage is {job.stage.value}); cancel it, or wait"
        raise JobNotSteered(id=job_id, what=what, why=why)
    call = upstream.pause if verb == "pause" else upstream.resume
    try:
        seen = await call(job.upstream_job_id)
    except UpstreamRefused as refused:
        raise JobNotSteered(id=job_id, what=what, why=jobs.own_ids(refused.message, job)) from refused
    with suppress(Conflict):  # the job has ended meanwhile
        try:
            await tracking.observe(ctx, record, seen)
        except RevisionChanged:  # by a poll, which may have read the upstream's list before the command
            await _observe_again(ctx, upstream, job_id)
    return await ctx.store.jobs.read(job_id, project)


@optimistic_update
async def _observe_again(ctx: Context, upstream: Upstream, job_id: str) -> None:
    """Writes what the upstream shows of a tracked job now."""
    record = await ctx.store.jobs.read(job_id)
    if record.job.stage is Stage.TRACKED and record.job.upstream_job_id:
        with suppress(UpstreamError):  # the command was passed; the next poll shows its effect
            await tracking.observe(ctx, record, await upstream.retrieve(record.job.upstream_job_id))


async def cancel(ctx: Context, job_id: str, project: str) -> JobRecord:
    """Cancels a job. One that may be at the upstream is marked, and its step cancels it there."""
    is_over = False
    with suppress(RevisionChanged):
        is_over = await _end_here(ctx, job_id, project)
    if not is_over:
        await ctx.store.jobs.mark_cancelled(job_id)
    return await ctx.store.jobs.read(job_id, project)


@optimistic_update
async def _end_here(ctx: Context, job_id: str, project: str) -> bool:
    """Returns False for a job that may be at the upstream."""
    record = await ctx.store.jobs.read(job_id, project)
    if record.job.stage is Stage.SETTLED:
        if record.job.status != "cancelled":
            raise JobAlreadyEnded(id=job_id, status=record.job.status)
        await ctx.store.confirm()  # an earlier call may have been answered that it is not
        return True
    if record.intent_ms is not None or record.job.upstream_job_id:
        return False
    await settle(ctx, record, "cancelled")
    return True
