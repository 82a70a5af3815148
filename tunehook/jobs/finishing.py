"""Stage settled: writes the end with its webhook event, then fetches result files and late events."""

from __future__ import annotations

import logging

from tunehook import telemetry
from tunehook.context import Context
from tunehook.errors import FileNotFound, UpstreamError, UpstreamRefused, UpstreamTooLarge
from tunehook.jobs import budget, event_log
from tunehook.model.file import File
from tunehook.model.job import Job, JobError, Message, UpstreamJob, is_about
from tunehook.model.member import job_member, ready_member
from tunehook.model.record import new_id
from tunehook.store import tally
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing

log = logging.getLogger(__name__)

#: An upstream's last events come up to 8 s after `finished_at`.
LATE_EVENTS_SECONDS = 15
#: Results that cannot be fetched for this long are given up.
GIVE_UP_SECONDS = 24 * 3600
#: So long a job that succeeded is asked for the members that its upstream still leaves out.
LATE_MEMBERS_SECONDS = 3600


async def settle(
    ctx: Context,
    record: JobRecord,
    status: str,
    *,
    lease: Lease | None = None,
    error: JobError | None = None,
    seen: UpstreamJob | None = None,
) -> None:
    """Writes the end of a job, and its webhook event in the same commit."""
    with telemetry.span("settle", record.job.traceparent):
        telemetry.describe(**{"job.id": record.job.id, "project": record.job.project, "status": status})
        await _settle(ctx, record, status, lease, error, seen)


async def _settle(
    ctx: Context,
    record: JobRecord,
    status: str,
    lease: Lease | None,
    error: JobError | None,
    seen: UpstreamJob | None,
) -> None:
    if status == "failed" and error is None:
        error = JobError(code="unknown", message="The upstream gave no reason.")
    before = record.job
    seen = seen or before.seen
    results = {file_id: new_id("file-") for file_id in (seen.result_files if seen else [])}
    job = before.settled(
        status,
        now=record.now,
        seen=seen,
        error=error if status == "failed" else None,
        result_files=results,
    )
    job = budget.closed(before, job)
    change = record.change(job, lease).due(record.member, 0.0 if job.upstream_job_id else None)
    budget.book(ctx, change, before.money, job)
    budget.count_spent(change, before, job)
    if seen and seen.finished_at and job.mark:
        tally.observe(change, tally.NOTICED_SECONDS, (job.upstream,), record.now_ms / 1000 - seen.finished_at)
    change.clear.append("intent")
    ctx.store.jobs.release(change, job)
    ctx.store.upstreams.leave_queue(change, job)
    if job.upstream_job_id and job.mark:  # not of an import, which tells nothing of slots
        ctx.store.upstreams.freed_slot(change, job.upstream, record.now)
    for file in result_records(job):
        ctx.store.files.entry(change, file)
    await name_model(ctx, change, job, record.now)
    await publishing.publish(ctx.webhooks, change, job, f"fine_tuning.job.{status}", now=record.now)
    if not job.upstream_job_id:
        text = f"The job was {status}" + (f": {error.message}" if error else "")
        level = "error" if status == "failed" else "info"
        change.say(job.id, Message(created_at=record.now, level=level, message=text))
    following = await ctx.store.upstreams.next_waiting(job.upstream, besides=job.id)
    if following:
        change.wake(job_member(following))
    await ctx.store.commit(change)
    budget.audit(before.money, job)
    fields = {"job": job.id, "project": job.project, "status": status, "code": job.error and job.error.code}
    log.info("job %s %s%s", job.id, status, f": {job.error.code}" if job.error else "", extra={"fields": fields})


async def name_model(ctx: Context, change: Change, job: Job, now: int) -> None:
    """Adds the model that a job made, and its first question; says so if the upstream has named none."""
    model = job.seen.fine_tuned_model if job.seen else None
    owner = await ctx.store.models.owner(model) if model else None
    text = None
    if owner not in (None, job.project):
        text = f"The upstream calls the model {model}, a name that is taken here, so it cannot be asked."
    elif model:
        ctx.store.models.name(change, job, model)
    elif job.status == "succeeded" and job.upstream_job_id:
        text = job.deployment or "The upstream has not named the model that it made."
    if text:
        log.warning("job %s at %s: %s", job.id, job.upstream, text)
        change.say(job.id, Message(created_at=now, level="warn", message=text))
    elif model and await publishing.has_subscribers(ctx.webhooks, job.project, event_types.READY):
        change.due(ready_member(job.id), 0.0)


def result_records(job: Job) -> list[File]:
    """Returns the records of the job's result files before they are fetched: status `uploaded`, no bytes."""
    return [
        File(
            id=file_id,
            project=job.project,
            filename=f"step_metrics_{number}.csv" if number else "step_metrics.csv",
            purpose="fine-tune-results",
            bytes=0,
            created_at=job.settled_at or job.created_at,
            sha256="",
            status="uploaded",
        )
        for number, file_id in enumerate(job.result_files.values())
    ]


async def fetch_what_is_late(ctx: Context, record: JobRecord) -> bool:
    """Fetches what a settled job still misses, and plans the next attempt."""
    job = record.job
    store = ctx.store
    if not job.upstream_job_id or job.upstream not in ctx.upstreams:
        await store.unplan(record.member)
        return False
    since_end = max(0, record.now - (job.settled_at or 0))  # Redis' clock may have been set back
    missing: list[str] = []
    # Some upstreams make checkpoints without an event.
    fetches = {
        "late members": _fetch_members,
        "events": event_log.fetch,
        "result files": _fetch_results,
        "checkpoints": event_log.publish_checkpoints,
    }
    for what, fetch in fetches.items():
        try:
            await fetch(ctx, job)
        except UpstreamRefused as refused:
            log.info("the %s of job %s are not at the upstream: %s", what, job.id, refused.message)
        except UpstreamError as error:
            log.warning("the %s of job %s cannot be fetched now: %s", what, job.id, error.message)
            missing.append(what)
    if missing and since_end <= GIVE_UP_SECONDS:
        await store.plan(record.member, min(600.0, max(5.0, since_end)))
    elif since_end < LATE_MEMBERS_SECONDS and _lacks_members((await store.jobs.read(job.id)).job):
        await store.plan(record.member, min(600.0, max(2.0, since_end)))
    elif since_end < LATE_EVENTS_SECONDS:
        await store.plan(record.member, LATE_EVENTS_SECONDS - since_end + 1)
    else:
        if missing:
            log.warning("job %s: not fetched, and given up: %s", job.id, ", ".join(missing))
        await store.unplan(record.member)
    return False


def _lacks_members(job: Job) -> bool:
    """Returns whether the upstream may still say more of a job that succeeded."""
    seen = job.seen
    return (
        job.status == "succeeded"
        and seen is not None
        and (seen.unnamed or seen.trained_tokens is None or not job.result_files)
    )


async def _fetch_members(ctx: Context, job: Job) -> None:
    """Asks the upstream for the model's name, trained tokens and result files that it left out at the end."""
    if not _lacks_members(job) or not job.upstream_job_id:
        return
    found = await ctx.upstreams[job.upstream].retrieve(job.upstream_job_id)
    record = await ctx.store.jobs.read(job.id)
    job, before = record.job, record.job.seen
    if before is None or found.status != job.status or not is_about(found, job, ctx.tag(job)):
        return
    results = job.result_files or {file_id: new_id("file-") for file_id in found.result_files}
    late = {
        "fine_tuned_model": before.fine_tuned_model or found.fine_tuned_model,
        "trained_tokens": found.trained_tokens if before.trained_tokens is None else before.trained_tokens,
        "finished_at": before.finished_at or found.finished_at,
    }
    changed = job.model_copy(update={"seen": before.model_copy(update=late), "result_files": results})
    changed = budget.corrected(changed)
    if changed == job:
        return
    change = record.change(changed)
    budget.book(ctx, change, job.money, changed)
    budget.count_spent(change, job, changed)
    for file in result_records(changed) if not job.result_files else []:
        ctx.store.files.entry(change, file)
    if before.unnamed and late["fine_tuned_model"]:
        await name_model(ctx, change, changed, record.now)
    await ctx.store.commit(change)
    budget.audit(job.money, changed)


async def _fetch_results(ctx: Context, job: Job) -> None:
    """Fetches each result file that is still missing, and adds the metrics in it that the events did not have.

    The project's stream tells of the job then: its curve has changed.
    """
    record = await ctx.store.jobs.read(job.id)
    job = record.job
    for upstream_file_id, file_id in job.result_files.items():
        try:
            file = await ctx.store.files.read(file_id, job.project)
        except FileNotFound:  # deleted by its owner, perhaps while it was fetched
            await ctx.store.confirm()
            await ctx.files.storage.remove(file_id)
            continue
        if file.status != "uploaded":
            continue
        try:
            content = await ctx.upstreams[job.upstream].result(upstream_file_id)
        except (UpstreamRefused, UpstreamTooLarge) as refused:
            gone = {"status": "error", "status_details": f"The upstream does not give it: {refused.message}"}
            await ctx.store.files.replace(file.model_copy(update=gone))
            continue
        sha256 = await ctx.files.storage.save(file_id, content)
        await ctx.store.job_metrics.fill(job.id, content)
        await ctx.store.commit(record.telling())
        kept = {"status": "processed", "bytes": len(content), "sha256": sha256}
        if not await ctx.store.files.replace(file.model_copy(update=kept)):
            await ctx.files.storage.remove(file_id)
