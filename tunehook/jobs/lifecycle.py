"""Lifecycle of a job: its stages, and the step that moves it on. Read this file first.

    stage       what a step does                                                          where
    accepted    waits for the check of both files, then wants their copies at the upstream  uploading.py
    uploading   waits for the copies; each is sent once for all jobs                      uploading.py, copy_step.py
    creating    writes the intent, then makes the one call that costs money               creating.py
                searches for a job whose create got no usable answer                      unknown_outcome.py
    waiting     shows why nothing can be done (no slot, no money, upstream on hold)       waiting.py
                or waits for an operator, beyond the project's budget                     approvals.py
    tracked     the upstream has the job; one poll for all jobs sees what changes         tracking.py, poller.py
    settled     the end and its webhook event are one commit; then result files           finishing.py

A request becomes an accepted job in submission.py (an upstream's own job in imports.py), in the API; cancel, pause and
resume are in commands.py. Everything else runs in workers, as steps of members that are due. A step takes the job's
lease, reads the record, does one thing outside, and commits. A commit is refused when the record has changed or the
lease is lost; the job is due again then, and the next step reads it anew. See store/engine/step.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tunehook.context import Context
from tunehook.errors import AlreadyTracked, StoreUnavailable
from tunehook.jobs import approvals, creating, finishing
from tunehook.jobs.finishing import settle
from tunehook.jobs.tracking import tracked
from tunehook.jobs.uploading import begin, when_uploaded
from tunehook.jobs.waiting import wait_with_intent
from tunehook.model.job import Stage
from tunehook.model.member import job_member
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step
from tunehook.store.jobs import JobRecord

log = logging.getLogger(__name__)

#: Another job of ours has the upstream's job that was found for this one: this one's is searched for again.
SEARCH_AGAIN_SECONDS = 10.0


async def advance(ctx: Context, job_id: str) -> None:
    """Runs one step: moves a job on until it has to wait for something."""
    member = job_member(job_id)

    async def _stages(lease: Lease) -> None:
        try:
            while await _next_stage(ctx, job_id, lease):
                pass
        except AlreadyTracked as error:
            log.warning("%s", error.message)
            await ctx.store.plan(member, SEARCH_AGAIN_SECONDS)

    await run_step(ctx.store, member, _stages)


async def advance_all(ctx: Context, job_ids: Sequence[str]) -> None:
    """Runs one step of each job, all at once: each has its lease, its intent and its commits, as if it were alone.

    An error ends the step of its own job only. The first is raised when all have ended; the others are logged. That
    Redis is away is no error of a job: it is raised if there is no other.
    """
    outcomes = await asyncio.gather(*(advance(ctx, job_id) for job_id in job_ids), return_exceptions=True)
    errors = [(job_id, error) for job_id, error in zip(job_ids, outcomes, strict=True) if error is not None]
    errors.sort(key=lambda one: isinstance(one[1], StoreUnavailable))
    for job_id, error in errors[1:]:
        if not isinstance(error, StoreUnavailable):
            log.error("The step of %s failed: it is due again within 20 s", job_id, exc_info=error)
    if errors:
        raise errors[0][1]


async def _next_stage(ctx: Context, job_id: str, lease: Lease) -> bool:
    """Does the next thing. Returns True when there is more to do at once."""
    record = await ctx.store.jobs.read(job_id)
    job = record.job
    if job.stage is Stage.SETTLED:
        return await finishing.fetch_what_is_late(ctx, record)
    if record.cancel_requested_at and record.intent_ms is None and not job.upstream_job_id:
        await settle(ctx, record, "cancelled", lease=lease)
        return True
    if job.money is not None and job.money.state == "awaiting":
        return await approvals.still_awaits(ctx, record)
    if job.upstream not in ctx.upstreams:
        return await _without_upstream(ctx, record, lease)
    match job.stage:
        case Stage.ACCEPTED:
            return await begin(ctx, record, lease)
        case Stage.UPLOADING:
            return await when_uploaded(ctx, record, lease)
        case Stage.WAITING if job.waiting and job.waiting.resume is Stage.UPLOADING:
            return await when_uploaded(ctx, record, lease)
        case Stage.CREATING | Stage.WAITING:
            return await creating.create(ctx, record, lease)
        case Stage.TRACKED:
            return await tracked(ctx, record, lease)
    raise AssertionError(job.stage)


async def _without_upstream(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Waits: the job's upstream was removed from the settings. Its intent and its copies stay known."""
    job = record.job
    if job.stage in (Stage.ACCEPTED, Stage.TRACKED):
        await ctx.store.commit(record.change(job, lease).due(record.member, 60.0))
        return False
    uploading = job.stage is Stage.UPLOADING or (job.waiting and job.waiting.resume is Stage.UPLOADING)
    resume = Stage.UPLOADING if uploading else Stage.CREATING
    why = f"There is no upstream '{job.upstream}' in the settings any more."
    return await wait_with_intent(ctx, record, lease, "upstream_missing", why, 60.0, resume)
