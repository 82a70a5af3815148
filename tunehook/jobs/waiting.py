"""Stage waiting: the job shows why nothing can be done now, and when it is tried again."""

from __future__ import annotations

from tunehook.context import Context
from tunehook.errors import UpstreamBusy
from tunehook.model.job import Message, Stage, Waiting
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing

#: After a 429 no create follows sooner, whatever its Retry-After says and whatever wakes the job.
LATE_SECONDS = 10.0
#: How long a job waits for a slot, unless the end of another job wakes it.
SLOT_SECONDS = 60.0


async def wait(
    ctx: Context, record: JobRecord, lease: Lease, code: str, reason: str, pause: float, resume: Stage = Stage.CREATING
) -> bool:
    """Waits `pause` seconds, then goes on with stage `resume`. Withdraws the intent: nothing was created."""
    change = await _waiting(ctx, record, lease, code, reason, pause, resume)
    change.clear.append("intent")
    await ctx.store.commit(change)
    return False


async def wait_for_slot(ctx: Context, record: JobRecord, lease: Lease, reason: str) -> bool:
    """Waits in the upstream's queue of jobs for a free slot; the end of another job may wake it sooner."""
    change = await _waiting(ctx, record, lease, "no_slot", reason, SLOT_SECONDS)
    change.clear.append("intent")
    await ctx.store.commit(ctx.store.upstreams.queue_up(change, record.job))
    return False


async def wait_after_429(ctx: Context, record: JobRecord, lease: Lease, code: str, reason: str, pause: float) -> bool:
    """Waits, and watches for a day for a job that was created in spite of the 429."""
    upstreams = ctx.store.upstreams
    late = await ctx.store.now_ms() // 1000 + 1 + int(LATE_SECONDS)
    change = await _waiting(ctx, record, lease, code, reason, pause, not_before=late)
    change.clear.append("intent")
    (upstreams.queue_up if code == "no_slot" else upstreams.leave_queue)(change, record.job)
    if code == "no_slot" and record.job.upstream in ctx.free_slots:
        await upstreams.leave_slot(record.job)
        upstreams.note_slots(change, record.job.upstream, await upstreams.jobs_there(record.job.upstream))
    await ctx.store.commit(upstreams.watch_for_extras(change, record.job))
    return False


async def wait_with_intent(
    ctx: Context, record: JobRecord, lease: Lease, code: str, reason: str, pause: float, resume: Stage = Stage.CREATING
) -> bool:
    """Waits while it is unknown whether the job was created: its intent stays."""
    await ctx.store.commit(await _waiting(ctx, record, lease, code, reason, pause, resume))
    return False


async def _waiting(
    ctx: Context,
    record: JobRecord,
    lease: Lease,
    code: str,
    reason: str,
    pause: float,
    resume: Stage = Stage.CREATING,
    *,
    not_before: int | None = None,
) -> Change:
    """Returns the change into stage waiting; a new reason is in the job's log and in a webhook."""
    job = record.job
    since = job.waiting.since if job.waiting else record.now
    waiting = Waiting.model_validate(
        {
            "code": code,
            "reason": reason,
            "since": since,
            "retry_at": record.now + int(pause),
            "not_before": not_before or (job.waiting.not_before if job.waiting else None),
            "resume": resume,
        }
    )
    moved = job.moved(Stage.WAITING, waiting=waiting)
    change = record.change(moved, lease).due(record.member, pause)
    if job.waiting is None or job.waiting.code != code:
        change.say(job.id, Message(created_at=record.now, level="warn", message=f"Waiting: {reason}"))
        await publishing.publish(ctx.webhooks, change, moved, event_types.WAITING, now=record.now)
    return change


def pause_for(busy: UpstreamBusy) -> tuple[str, str, float]:
    """Returns code, reason and pause (seconds) for a 429, by its code and its words.

    No slot: a minute, for slots that other programs free; the end of a job of ours wakes the next one. Daily limit:
    an hour, since the answer does not say when the day ends. No money: ten minutes, since a person has to act. All:
    ten seconds at least, since a job that was created all the same may be listed only then.
    """
    code, words = busy.code or "", busy.message.lower()
    if code == "insufficient_quota" or "quota" in words:
        return "insufficient_quota", busy.message, max(600.0, busy.retry_after or 0.0)
    if code == "daily_rate_limit_exceeded" or "per day" in words:
        return "daily_rate_limit_exceeded", busy.message, max(3600.0, busy.retry_after or 0.0)
    if "concurrent" in words or "running" in words or "slot" in words or "queued" in words:
        return "no_slot", busy.message, max(LATE_SECONDS, busy.retry_after or SLOT_SECONDS)
    return code or "rate_limit_exceeded", busy.message, max(LATE_SECONDS, busy.retry_after or 30.0)
