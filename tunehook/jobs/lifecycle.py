"""The story of a job, told in order. Whoever opens this file learns the program.

    submit     a client asks; one commit makes record, indexes and due time           (in the API)
    advance    what a step does: takes the lease, then goes as far as it can          (in a worker)
      begin    the dataset's bytes are wanted at the upstream, once for all jobs      → upload.py
      create   the upstream is asked for the job, with the intent written first       → creating.py
      track    the upstream has it; from now on one look sees all                     → look.py
      settle   the end; its event is in the same commit                               → outcomes.py, delivery.py
      epilogue result files, and the events that come late                            → epilogue.py
    cancel     at any stage

Each turn reads the record, does one thing outside, and commits; a commit that is refused because somebody
was faster, or because the lease is lost, is simply taken up again by whoever finds the job due.
"""

from __future__ import annotations

import logging

from tunehook.context import Context
from tunehook.errors import AlreadyTracked
from tunehook.jobs import creating, finishing
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


async def _next_stage(ctx: Context, job_id: str, lease: Lease) -> bool:
    """One thing; True if there is more to be done at once."""
    record = await ctx.store.jobs.read(job_id)
    job = record.job
    if job.stage is Stage.SETTLED:
        return await finishing.fetch_what_is_late(ctx, record)
    if record.cancel_requested_at and record.intent_ms is None and not job.upstream_job_id:
        await settle(ctx, record, "cancelled", lease=lease)
        return True
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
    """Its upstream is not in the settings any more. Nothing of what is known of it is given up for that."""
    job = record.job
    if job.stage in (Stage.ACCEPTED, Stage.TRACKED):
        await ctx.store.commit(record.change(job, lease).due(record.member, 60.0))
        return False
    uploading = job.stage is Stage.UPLOADING or (job.waiting and job.waiting.resume is Stage.UPLOADING)
    resume = Stage.UPLOADING if uploading else Stage.CREATING
    why = f"There is no upstream '{job.upstream}' in the settings any more."
    return await wait_with_intent(ctx, record, lease, "upstream_missing", why, 60.0, resume)
