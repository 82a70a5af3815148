"""Stage tracked: writes changes at the upstream, passes a cancel on, cancels extras."""

from __future__ import annotations

import logging

from tunehook.context import Context
from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnknown
from tunehook.jobs import budget, deployed_job
from tunehook.jobs.finishing import settle
from tunehook.model.deployment import OVER, Deployment, shown_state
from tunehook.model.job import TAG, Job, Message, Stage, UpstreamJob, is_about
from tunehook.model.member import job_member
from tunehook.openai_format import jobs
from tunehook.store import tally
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing

log = logging.getLogger(__name__)

#: A job without news for so long is stalled: jobs take hours, reinforcement a day and more. So is one that is this far
#: past the upstream's estimate of its end.
QUIET_SECONDS = 24 * 3600
QUIET_REINFORCEMENT_SECONDS = 72 * 3600
OVERDUE_SECONDS = 6 * 3600
#: So long a job that succeeded is polled until its model's name is there too: some upstreams give it later.
UNNAMED_SECONDS = 300
#: A poll has so much time to end such a job, with what the upstream says by then.
POLLED_FIRST_SECONDS = 60
#: A tracked job is seen by the poll; this is the fallback if its entry in the poll's index was lost.
REASSURE_SECONDS = 6 * 3600.0


def is_stalled(job: Job, now: int) -> bool:
    """Returns whether a job had no news for far longer than jobs take, and was not reported yet."""
    if job.stalled_at is not None:
        return False
    quiet = now - (job.news_at or job.created_at)
    estimate = job.seen.estimated_finish if job.seen else None
    if estimate is not None and quiet > OVERDUE_SECONDS and now > estimate + OVERDUE_SECONDS:
        return True
    return quiet > (QUIET_REINFORCEMENT_SECONDS if jobs.method(job)["type"] == "reinforcement" else QUIET_SECONDS)


async def tracked(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Passes a cancel on; else checks for a stall and renews the job's entry for the poll.

    Ends a job that succeeded and whose upstream no longer shows it, with or without the model's name.
    """
    job = record.job
    assert job.upstream_job_id
    assert job.seen
    if not record.cancel_requested_at:
        if job.unnamed_since is not None and deployed_job.by_itself(ctx, job):
            return await _named_by_deploying(ctx, record, lease)
        unnamed_for = record.now - job.unnamed_since if job.unnamed_since is not None else None
        if unnamed_for is not None and unnamed_for >= UNNAMED_SECONDS:
            await settle(ctx, record, job.seen.status, lease=lease, error=job.seen.error)
            return True
        stalled = is_stalled(job, record.now)
        noted = job.model_copy(update={"stalled_at": record.now}) if stalled else job
        pause = (
            REASSURE_SECONDS if unnamed_for is None else max(0, UNNAMED_SECONDS - unnamed_for) + POLLED_FIRST_SECONDS
        )
        change = record.change(noted, lease).due(record.member, pause)
        if stalled:
            await publishing.publish(ctx.webhooks, change, noted, event_types.STALLED, now=record.now)
        await ctx.store.commit(ctx.store.upstreams.track(change, job, job.seen))
        return False
    upstream = ctx.upstreams[job.upstream]
    lease.check()
    try:
        try:
            seen = await upstream.cancel(job.upstream_job_id)
        except UpstreamRefused:
            seen = await upstream.retrieve(job.upstream_job_id)  # it had ended before it could be cancelled
        return await observe(ctx, record, seen, lease)
    except UpstreamError as error:
        log.warning("cancelling job %s at %s failed: %s", job.id, job.upstream, error.message)
        await ctx.store.commit(record.change(job, lease).due(record.member, 10.0))
        return False


async def _named_by_deploying(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Ends a job that succeeded once deploying gave its model's name, has failed, or takes too long."""
    job = record.job
    assert job.seen
    assert job.unnamed_since is not None
    wanted = Deployment(
        id=job.id,
        project=job.project,
        upstream=job.upstream,
        upstream_job_id=job.upstream_job_id or "",
        base=job.spec.model,
        mark=ctx.tag(job),
        asked_at=record.now,
    )
    deployment = await deployed_job.want(ctx, wanted)
    shown = job.model_copy(update={"deployed": shown_state(deployment)})
    remaining = deployed_job.NAMED_SECONDS - (record.now - job.unnamed_since)
    if deployment.chat_model or deployment.stage in OVER or remaining <= 0:
        seen = job.seen.model_copy(update={"fine_tuned_model": deployment.chat_model})
        ended = JobRecord(shown, record.revision, record.now_ms, record.fields)
        await settle(ctx, ended, job.seen.status, lease=lease, seen=seen)
        return True
    pause = min(60.0, remaining)
    if shown == job:
        await ctx.store.plan(record.member, pause)
    else:
        await ctx.store.commit(record.change(shown, lease).due(record.member, pause))
    return False


async def observe(ctx: Context, record: JobRecord, seen: UpstreamJob, lease: Lease | None = None) -> bool:
    """Writes what the upstream says of a tracked job. Returns True when that is its end.

    An end without the model's name is none for `UNNAMED_SECONDS`, unless this kind of upstream names none. Raises
    UpstreamUnknown if `seen` is another job.
    """
    job = record.job
    if not is_about(seen, job, ctx.tag(job)):
        raise UpstreamUnknown(upstream=job.upstream, why=f"asked for {job.upstream_job_id}, it shows another job")
    since = job.unnamed_since or record.now
    deploys = deployed_job.by_itself(ctx, job)
    unnamed = seen.unnamed and not record.cancel_requested_at
    unnamed = unnamed and (deploys or (ctx.rules(job.upstream).names_models and record.now - since < UNNAMED_SECONDS))
    if seen.ended and not unnamed:
        await settle(ctx, record, seen.status, lease=lease, seen=seen, error=seen.error)
        return True
    if unnamed and job.unnamed_since is not None:
        return False
    moved = job.moved(
        Stage.TRACKED,
        seen=seen,
        news_at=record.now,
        stalled_at=None,
        unnamed_since=since if unnamed else None,
        odd_status=job.odd_status or seen.odd_status,
    )
    change = record.change(moved, lease)
    ctx.store.upstreams.noticed(change, job, seen)
    _say_odd_status(change, job, seen, record.now)
    if unnamed and deploys:
        text = "The upstream says that the job succeeded. Its model is named once it is deployed."
        change.say(job.id, Message(created_at=record.now, message=text))
        change.wake(record.member)
    elif unnamed:
        text = f"The upstream says that the job succeeded. It is polled for its model's name, for {UNNAMED_SECONDS} s."
        change.say(job.id, Message(created_at=record.now, message=text))
        change.due(record.member, UNNAMED_SECONDS + POLLED_FIRST_SECONDS)
    if seen.status == "running" and job.seen and job.seen.status != "running":
        await publishing.publish(ctx.webhooks, change, moved, event_types.RUNNING, now=record.now)
    if lease is not None:
        change.due(record.member, 10.0)
    await ctx.store.commit(change)
    return False


def _say_odd_status(change: Change, job: Job, seen: UpstreamJob, now: int) -> None:
    """Logs a status that is not known here, once per job."""
    if seen.odd_status and not job.odd_status:
        text = f"The upstream gives the status {seen.status!r}, which is not known here. It is not taken for an end."
        log.warning("job %s at %s: %s", job.id, job.upstream, text)
        change.say(job.id, Message(created_at=now, level="warn", message=text))


async def track(ctx: Context, record: JobRecord, found: list[UpstreamJob], lease: Lease) -> bool:
    """Tracks the oldest of the jobs found at the upstream, and cancels the others as extras.

    Only extras that bear our mark are cancelled: where an upstream shows no metadata, another program's job with the
    same seed and file looks the same. Raises AlreadyTracked if another job of ours has adopted it.
    """
    made = next((one for one in found if one.status != "cancelled"), found[0])
    extras = [one for one in found if one.id != made.id and (one.metadata or {}).get(TAG) == ctx.tag(record.job)]
    job = record.job.moved(
        Stage.TRACKED, upstream_job_id=made.id, seen=made, looks=0, news_at=record.now, odd_status=made.odd_status
    )
    change = record.change(job, lease).due(record.member, 0.0 if record.cancel_requested_at else REASSURE_SECONDS)
    change.clear.append("intent")
    ctx.store.upstreams.track(change, job, made)
    tally.observe(change, tally.CREATED_SECONDS, (job.upstream,), record.now_ms / 1000 - job.created_at)
    budget.count_estimate(change, job)
    _say_odd_status(change, record.job, made, record.now)
    if made.status == "running":
        await publishing.publish(ctx.webhooks, change, job, event_types.RUNNING, now=record.now)
    text = f"Created at the upstream '{job.upstream}' as {made.id}"
    change.say(job.id, Message(created_at=record.now, message=text))
    await ctx.store.commit(change)
    following = await ctx.store.upstreams.next_waiting(job.upstream)  # now that this project's turn is over
    if following:
        await ctx.store.wake(job_member(following))
    for extra in extras:
        await cancel_extra(ctx, job, extra)
    return bool(record.cancel_requested_at)


async def cancel_extra(ctx: Context, job: Job, extra: UpstreamJob) -> None:
    """Cancels an upstream's job that bears our mark beside the adopted one; logged and counted once.

    Logged first: if the process is killed in between, the next poll finds the extra for as long as it runs.
    """
    does = "had ended before it was found" if extra.ended else "is cancelled"
    text = f"A repeated create made an extra job at the upstream, which {does}: {extra.id}"
    now = await ctx.store.now_ms() // 1000
    entry = Message(created_at=now, level="warn", message=text, upstream_event_id=f"extra {extra.id}")
    await ctx.store.job_log.append_extra(job, entry)
    if extra.ended:
        return
    upstream = ctx.upstreams[job.upstream]
    try:
        await upstream.cancel(extra.id)
    except UpstreamError as error:
        log.warning("extra %s of job %s is not cancelled yet: %s", extra.id, job.id, error.message)
        return
    log.warning("extra %s of job %s cancelled", extra.id, job.id)
