"""Pause and resume: passed to the upstream for jobs that it has; anything else is told why not."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from tunehook.context import Context
from tunehook.errors import Conflict, JobAlreadyEnded, JobNotSteered, UpstreamRefused
from tunehook.jobs import tracking
from tunehook.jobs.finishing import settle
from tunehook.model.job import Stage
from tunehook.openai_format import jobs
from tunehook.store.jobs import JobRecord

Verb = Literal["pause", "resume"]
_DONE: dict[Verb, str] = {"pause": "paused", "resume": "resumed"}


async def pause_or_resume(ctx: Context, job_id: str, project: str, verb: Verb) -> JobRecord:
    """The job as the upstream shows it afterwards. Raises JobNotSteered, and the upstream's other errors."""
    record = await ctx.store.jobs.read(job_id, project)
    job = record.job
    what = _DONE[verb]
    if job.stage is Stage.SETTLED:
        raise JobNotSteered(id=job_id, what=what, why=f"it has already {job.status}")
    upstream = ctx.upstreams.get(job.upstream)
    if job.stage is not Stage.TRACKED or not job.upstream_job_id or upstream is None:
        why = f"the upstream does not have it yet (its stage is {job.stage.value}); cancel it, or wait"
        raise JobNotSteered(id=job_id, what=what, why=why)
    call = upstream.pause if verb == "pause" else upstream.resume
    try:
        seen = await call(job.upstream_job_id)
    except UpstreamRefused as refused:
        raise JobNotSteered(id=job_id, what=what, why=jobs.own_ids(refused.message, job)) from refused
    with suppress(Conflict):  # a look was faster; what it saw later counts
        await tracking.observe(ctx, record, seen)
    return await ctx.store.jobs.read(job_id, project)


async def cancel(ctx: Context, job_id: str, project: str) -> JobRecord:
    """Ends a job that is nowhere yet on the spot; one that may be at the upstream is marked, and its step ends it.

    A race with a step is decided by the revision: whoever commits second reads again.
    """
    for _ in range(10):
        record = await ctx.store.jobs.read(job_id, project)
        job = record.job
        if job.stage is Stage.SETTLED:
            if job.status == "cancelled":
                return record
            raise JobAlreadyEnded(id=job.id, status=job.status)
        if record.intent_ms is not None or job.upstream_job_id:
            break
        try:
            await settle(ctx, record, "cancelled")
        except Conflict:
            continue
        return await ctx.store.jobs.read(job_id, project)
    await ctx.store.jobs.mark_cancelled(job_id)
    return await ctx.store.jobs.read(job_id, project)
