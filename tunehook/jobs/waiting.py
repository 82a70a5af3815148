from __future__ import annotations

from tunehook.context import Context
from tunehook.errors import UpstreamBusy
from tunehook.model.job import Message, Stage, Waiting
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing

#: After a 429 no create follows sooner, whatever its Retry-After says; unless a slot was wanting, and one opens.
LATE_SECONDS = 10.0


async def wait(
    ctx: Context,
    record: JobRecord,
    lease: Lease,
    code: str,
    reason: str,
    pause: float,
    *,
    resume: Stage = Stage.CREATING,
    queue: bool = False,
    keep_intent: bool = False,
    doubt: bool = False,
) -> bool:
    """Nothing can be done now; nothing fails for it. Says why, and when it is tried again."""
    job = record.job
    since = job.waiting.since if job.waiting else record.now
    waiting = Waiting.model_validate(
        {"code": code, "reason": reason, "since": since, "retry_at": record.now + int(pause), "resume": resume}
    )
    moved = job.moved(Stage.WAITING, waiting=waiting)
    change = record.change(moved, lease).due(record.member, pause)
    if not keep_intent:
        change.clear.append("intent")
    if queue:
        ctx.store.upstreams.queue_up(change, job)
    elif doubt:  # it has left the queue for slots with an answer about something else
        ctx.store.upstreams.leave_queue(change, job)
    if doubt:
        ctx.store.upstreams.watch_for_extras(change, job)
    if job.waiting is None or job.waiting.code != code:
        change.say(job.id, Message(created_at=record.now, level="warn", message=f"Waiting: {reason}"))
        await publishing.publish(ctx.webhooks, change, moved, event_types.WAITING, now=record.now)
    await ctx.store.commit(change)
    return False


def pause_for(busy: UpstreamBusy) -> tuple[str, str, float]:
    """(code, reason, seconds) of a 429: what it is about is told by code and words.

    No slot: a job that ends wakes the next, a minute is for the case that somebody else's job ends. The daily
    limit: an hour, since nobody says when the day is over. No money: a person has to do something. Any other: ten
    seconds at least, since one that had created a job after all may show it some seconds later.
    """
    code, words = busy.code or "", busy.message.lower()
    if code == "insufficient_quota" or "quota" in words:
        return "insufficient_quota", busy.message, max(600.0, busy.retry_after or 0.0)
    if code == "daily_rate_limit_exceeded" or "per day" in words:
        return "daily_rate_limit_exceeded", busy.message, max(3600.0, busy.retry_after or 0.0)
    if "concurrent" in words or "running" in words or "slot" in words or "queued" in words:
        return "no_slot", busy.message, busy.retry_after or 60.0
    return code or "rate_limit_exceeded", busy.message, max(LATE_SECONDS, busy.retry_after or 30.0)
