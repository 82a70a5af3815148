"""Stage creating: makes the one call that costs money, once.

Before the call: the intent is written, the lease is still ours, and the intent is younger than a second. Every answer
but a plain one (created, refused) leaves the outcome *unknown*: then unknown_outcome.py searches for the job by our
mark before the create is repeated. That is why no job is paid for twice; no other part retries a create.
"""

from __future__ import annotations

import time

from tunehook import telemetry
from tunehook.context import Context
from tunehook.errors import (
    AlreadyTracked,
    UpstreamAlikeJob,
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamOddJob,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.jobs import uploading, upstream_hold
from tunehook.jobs.finishing import settle
from tunehook.jobs.tracking import track
from tunehook.jobs.unknown_outcome import LONG_SECONDS, find_existing, find_out, note_unknown, seconds_until_search
from tunehook.jobs.waiting import pause_for, wait, wait_after_429, wait_for_slot
from tunehook.model.job import JobError, Stage, UpstreamJob
from tunehook.openai_format.jobs import own_ids
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord

#: A create answers within 25 s (upstreams/client.py), its lease renewed meanwhile. A step that gets the lease after
#: that finds the intent, and searches for the job that the create may have made.
INTENT_SECONDS = 20.0
#: A create is sent within this time of its intent, or not at all.
FRESH_SECONDS = 1.0


async def create(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Creates the job at the upstream, unless something has to come first."""
    job = record.job
    if record.intent_ms is not None:
        return await find_out(ctx, record, lease)
    files = await uploading.upstream_files(ctx, job)
    if not files[0] or (job.validation and not files[1]):  # lost there, as another job found out
        change = record.change(job.moved(Stage.UPLOADING), lease).due(record.member, 0.0)
        await ctx.store.commit(ctx.store.upstreams.leave_queue(change, job))
        return True
    held = await ctx.store.upstreams.held(job.upstream)
    if held:
        return await wait(ctx, record, lease, held.code, held.reason, max(1.0, held.until - record.now))
    if await ctx.store.upstreams.waits_behind(job):
        count = await ctx.store.upstreams.waiting_before(job)
        why = f"{count} {'job waits' if count == 1 else 'jobs wait'} for a slot before this one."
        return await wait_for_slot(ctx, record, lease, why)
    free = ctx.free_slots.get(job.upstream, 0)
    if free and not await ctx.store.upstreams.take_slot(job, free):
        why = f"The settings keep {free} of its slots free, and '{job.upstream}' has no more than these."
        return await wait_for_slot(ctx, record, lease, why)
    more = await _create(ctx, record, lease, files)
    if free and (await ctx.store.jobs.read(job.id)).intent_ms is None:  # else it is unknown whether it is there
        await ctx.store.upstreams.leave_slot(job)
    return more


async def _create(ctx: Context, record: JobRecord, lease: Lease, files: tuple[str, str | None]) -> bool:
    """Writes the intent and makes the create, unless a job of an earlier one is found."""
    job = record.job
    searched = await _searched(ctx, record, lease)
    if searched is not None:
        return searched
    not_before = (job.waiting.not_before if job.waiting else None) or 0
    if record.now < not_before:  # woken, or a second step that was enqueued before
        await ctx.store.plan(record.member, not_before - record.now)
        return False
    await lease.renew()
    written = time.monotonic()
    job = job.create_sent()
    intent = record.change(job, lease).due(record.member, INTENT_SECONDS)
    intent.stamp.append("intent")
    intent_ms = await ctx.store.commit(intent)
    record = JobRecord(job, record.revision + 1, record.now_ms, {**record.fields, "intent": str(intent_ms)})
    if time.monotonic() - written > FRESH_SECONDS:
        await _withdraw(ctx, record, lease, again_in=1.0)
        return False
    return await _ask(ctx, record, lease, files)


async def _searched(ctx: Context, record: JobRecord, lease: Lease) -> bool | None:
    """Searches for a job of an earlier create, where there may be one. Returns None if this one may be made."""
    search_in = await seconds_until_search(ctx, record)
    if search_in is None:
        return None
    if search_in:
        await ctx.store.plan(record.member, search_in)
        return False
    try:
        found = await find_existing(ctx, record)
    except UpstreamAlikeJob as alike:
        return await note_unknown(ctx, record, lease, alike)
    except UpstreamError as error:
        return await _not_now(ctx, record, lease, error)
    return await track(ctx, record, found, lease) if found else None


async def _ask(ctx: Context, record: JobRecord, lease: Lease, files: tuple[str, str | None]) -> bool:
    """Makes the call that costs money, and acts on each kind of answer."""
    job, upstream = record.job, ctx.upstreams[record.job.upstream]
    training, validation = files
    lease.check()
    try:
        with telemetry.span("create", job.traceparent, first=(job.creates or 1) == 1, kind="client"):
            telemetry.describe(**{"job.id": job.id, "project": job.project, "upstream": job.upstream})
            made = await upstream.create(job.spec, training=training, validation=validation, tag=ctx.tag(job))
            telemetry.describe(**{"upstream.job.id": made.id})
    except UpstreamRefused as refused:
        if await _lost_our_copy(ctx, record, lease, refused, files):
            return True
        code, message = refused.code or f"http_{refused.status}", own_ids(refused.message, job, files)
        error = JobError(code=code, message=message, param=refused.param)
        await settle(ctx, record, "failed", lease=lease, error=error)
    except UpstreamNotReady as error:
        if record.now - job.created_at > LONG_SECONDS:  # show the owner why nothing happens
            return await wait(ctx, record, lease, "file_not_ready", own_ids(error.message, job, files), 60.0)
        await _withdraw(ctx, record, lease, again_in=3.0)
        return False
    except (UpstreamUnauthorized, UpstreamUnreachable) as away:
        return await _not_now(ctx, record, lease, away)
    except UpstreamBusy as busy:
        return await _busy(ctx, record, lease, busy, files)
    except UpstreamError as unknown:
        return await note_unknown(ctx, record, lease, unknown)
    else:
        return await _track_created(ctx, record, made, lease)
    return True


async def _track_created(ctx: Context, record: JobRecord, made: UpstreamJob, lease: Lease) -> bool:
    """Tracks the job that the create was answered with. If another job here has it, the outcome is unknown."""
    try:
        return await track(ctx, record, [made], lease)
    except AlreadyTracked:
        why = "another job here has it"
        odd = UpstreamOddJob(upstream=record.job.upstream, shown=made.id, why=why)
        return await note_unknown(ctx, record, lease, odd)


async def _not_now(ctx: Context, record: JobRecord, lease: Lease, error: UpstreamError) -> bool:
    """Waits: nothing was created, for certain."""
    if isinstance(error, UpstreamUnauthorized | UpstreamUnreachable):
        pause = await upstream_hold.hold(ctx, error)
        return await wait(ctx, record, lease, error.code or "upstream_on_hold", error.message, pause)
    return await wait(ctx, record, lease, "upstream_no_answer", error.message, error.retry_after or 10.0)


async def _busy(
    ctx: Context, record: JobRecord, lease: Lease, busy: UpstreamBusy, files: tuple[str, str | None]
) -> bool:
    """Waits after a 429, once no job was found: some 429s came after a job that was created all the same."""
    try:
        found = await find_existing(ctx, record)
    except UpstreamError as error:
        return await note_unknown(ctx, record, lease, error)
    if found:
        return await track(ctx, record, found, lease)
    code, reason, pause = pause_for(busy)
    reason = own_ids(reason, record.job, files)
    job = record.job.model_copy(update={"doubtful_since": record.job.doubtful_since or record.now})
    record = JobRecord(job, record.revision, record.now_ms, record.fields)
    return await wait_after_429(ctx, record, lease, code, reason, pause)


async def _withdraw(ctx: Context, record: JobRecord, lease: Lease, *, again_in: float) -> None:
    """Withdraws the intent of a create that made nothing; it is repeated in `again_in` seconds."""
    change = record.change(record.job, lease).due(record.member, again_in)
    change.clear.append("intent")
    await ctx.store.commit(change)


async def _lost_our_copy(
    ctx: Context, record: JobRecord, lease: Lease, refused: UpstreamRefused, files: tuple[str, str | None]
) -> bool:
    """Goes back to the upload, once, if the upstream has lost a file that it took before.

    Another job on the same file may have seen it first: then the copy has another id by now, or none.
    """
    job = record.job
    about_files = refused.param in ("training_file", "validation_file") or files[0] in refused.message
    if job.upload_again or not about_files:
        return False
    is_replaced = await uploading.upstream_files(ctx, job) != files
    if not is_replaced and not await uploading.is_lost(ctx, job):
        return False
    change = record.change(job.moved(Stage.UPLOADING, upload_again=1), lease).due(record.member, 0.0)
    change.clear.append("intent")
    ctx.store.upstreams.leave_queue(change, job)
    for file in job.files if not is_replaced else ():
        ctx.store.copies.lost(change, job.upstream, file)
    await ctx.store.commit(change)
    return True
