"""Unknown outcome of a create: searches for the job by its mark, and adopts it or creates again.

note_unknown     a create got no usable answer: the job may exist
find_out         each step until it is decided: adopts the oldest job found; creates again after the settle time,
                 unless the upstream named or lists a job that may be this one. A *named* upstream's one look is proof:
                 the same id is created again at once, and makes no second job
find_extras      for a day: jobs that a repeated create made beside the adopted one, which are cancelled
"""

from __future__ import annotations

import logging
import time

from tunehook.context import Context
from tunehook.errors import (
    Conflict,
    JobNotFound,
    RecordUnreadable,
    UpstreamAlikeJob,
    UpstreamError,
    UpstreamOddJob,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.jobs import tracking, uploading
from tunehook.jobs.finishing import settle
from tunehook.jobs.tracking import track
from tunehook.jobs.waiting import wait_with_intent
from tunehook.model.job import Job, Message, Stage, UpstreamJob, mark_of
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.upstreams.protocol import Upstream

log = logging.getLogger(__name__)

#: A create of unknown outcome counts as not done after the settle time and this many empty searches.
EMPTY_SEARCHES = 3
#: How often a create of unknown outcome is repeated, each time but the first after twice as long. Then a person has to
#: look at the upstream: one that creates jobs and lists none would be paid for each.
MOST_REPEATS = 4
#: How often extras of one job are searched for, and for how many jobs in a poll.
EXTRAS_SECONDS = 300.0
EXTRAS_A_POLL = 20
#: Few creates are so late after the job's acceptance; before such a create the job is searched for, too.
LONG_SECONDS = 600
#: A create that was under way when another Redis became the primary is listed by now.
LANDED_SECONDS = 30
#: Clocks differ: an upstream may date a job this many seconds before its intent.
SKEW_SECONDS = 600


async def seconds_until_search(ctx: Context, record: JobRecord) -> float | None:
    """Returns in how many seconds a job without an intent has to be searched for before its create; None: it has not.

    A job of an earlier create may be listed by now. The record of a create may be lost: for a job as old as
    `LONG_SECONDS`, Redis may have been restored from an older backup; and a Redis that has become the primary since the
    job was accepted may lack it, unless replicas had to confirm. A create that was under way then lands first.
    """
    primary_since = await ctx.store.redis_health.primary_since()
    if primary_since and primary_since >= record.job.created_at - SKEW_SECONDS:
        return 0.0 if ctx.store.replicas else max(0.0, primary_since + LANDED_SECONDS - record.now)
    return 0.0 if record.job.doubtful_since or record.now - record.job.created_at > LONG_SECONDS else None


def next_search(age: float, settle: float) -> float:
    """Returns the seconds until the next search for a create that is `age` seconds old.

    The age doubles from search to search, and the last is just after the settle time: at least three fall into any
    settle time, and few into a long one.
    """
    pause = min(max(3.0, age), 60.0)
    remaining = settle + 0.5 - age
    return min(pause, remaining) if remaining > 0 else 1.0


def may_create_again(age: float, searches: int, settle: float) -> bool:
    """Returns whether a create may be repeated: after the settle time and three empty searches."""
    return age >= settle and searches >= EMPTY_SEARCHES


def settle_time(settle: float, repeats: int) -> float:
    """Returns for how many seconds a create is searched for that was repeated so often already."""
    return settle * 2.0 ** max(0, repeats - 1)


async def find_extras(ctx: Context, upstream: Upstream, watched: list[str], lease: Lease, until: float) -> None:
    """Searches the whole list for extras of the watched jobs: of each every few minutes, for a day.

    `until`: when to stop, by the monotonic clock. A search that fails holds up no other.
    """
    due = await ctx.store.upstreams.extras_to_find(
        upstream.name, watched, older_than=EXTRAS_SECONDS, limit=EXTRAS_A_POLL
    )
    for record in await ctx.store.jobs.read_many(due):
        job = record.job
        if time.monotonic() > until:
            return  # the others are due again in some minutes
        lease.check()
        since = (job.doubtful_since or job.created_at) - SKEW_SECONDS
        try:
            found = await upstream.find(job.spec, training="", tag=ctx.tag(job), since=since)
        except (UpstreamUnauthorized, UpstreamUnreachable):
            raise
        except UpstreamError as error:
            log.warning("searching for extras of job %s at %s failed: %s", job.id, upstream.name, error.message)
            continue
        for upstream_job in found:
            await check_unlisted(ctx, upstream, upstream_job, watched, lease)


async def check_unlisted(
    ctx: Context, upstream: Upstream, upstream_job: UpstreamJob, watched: list[str], lease: Lease
) -> None:
    """Handles an upstream's job that is not tracked here: another program's, a settled one, or an extra."""
    deployment, job_id = mark_of(upstream_job)
    if not job_id or (upstream_job.ended and job_id not in watched):
        return
    try:
        record = await ctx.store.jobs.read(job_id)
    except (JobNotFound, Conflict, RecordUnreadable):
        return
    job = record.job
    if (
        job.upstream != upstream.name
        or upstream_job.id == job.upstream_job_id
        or ctx.tag(job) != f"{deployment}/{job_id}"
    ):
        return
    if job.upstream_job_id or job.stage is Stage.SETTLED:
        lease.check()
        await tracking.cancel_extra(ctx, job, upstream_job)
    elif record.intent_ms is not None or job.doubtful_since:
        await ctx.store.wake(record.member)  # its step searches for this job


async def note_unknown(ctx: Context, record: JobRecord, lease: Lease, unknown: UpstreamError) -> bool:
    """Notes that the create may have happened: in the job's log, and for a day of watching for extras."""
    noted: dict[str, object] = {"doubtful_since": _in_doubt_since(record)}
    if isinstance(unknown, UpstreamOddJob):
        noted["answered_with"] = unknown.shown
    watched = record.job.model_copy(update=noted)
    named = ctx.upstreams[record.job.upstream].identity == "named"
    pause = _pause_when_named(record.job) if named else next_search(0.0, ctx.settle_seconds)
    change = record.change(watched, lease).due(record.member, pause)
    if record.intent_ms is None:  # it was found before a create: it may be of an earlier one
        change.stamp.append("intent")
    ctx.store.upstreams.watch_for_extras(change, watched)
    ctx.store.upstreams.leave_queue(change, watched)  # deciding takes minutes, and must not hold up the queue for slots
    text = f"{unknown.message} The job may exist there: it is searched for before it is created again."
    change.say(watched.id, Message(created_at=record.now, level="warn", message=text))
    await ctx.store.commit(change)
    return False


async def find_out(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Searches for the job of an earlier create: adopts the oldest found, or decides that there is none."""
    job = record.job
    assert record.intent_ms is not None
    age = (record.now_ms - record.intent_ms) / 1000
    maybe = job.answered_with
    try:
        found = await find_existing(ctx, record)
    except UpstreamAlikeJob as alike:
        found, maybe = [], maybe or str(alike.fields["shown"])
    except UpstreamError as error:
        log.warning("searching for job %s at %s failed: %s", job.id, job.upstream, error.message)
        await ctx.store.commit(record.change(job, lease).due(record.member, 10.0))
        return False
    if found:
        return await track(ctx, record, found, lease)
    settle_seconds = settle_time(ctx.settle_seconds, job.repeats)
    # A cancelled job whose create may still land is first watched for extras, as any that was in doubt.
    watched = job.doubtful_since is not None or not record.cancel_requested_at
    named = ctx.upstreams[job.upstream].identity == "named" and watched
    if named or may_create_again(age, job.looks + 1, settle_seconds):
        if record.cancel_requested_at:
            await settle(ctx, record, "cancelled", lease=lease)
            return True
        if not named and (ctx.on_unknown == "hold" or job.repeats >= MOST_REPEATS or maybe):
            return await _hold(ctx, record, lease, maybe)
        again = job.model_copy(update={"looks": 0, "repeats": job.repeats + 1})
        change = record.change(again, lease).due(record.member, 20.0)
        change.clear.append("intent")
        await ctx.store.commit(change)
        return True
    searched = job.model_copy(update={"looks": job.looks + 1, "doubtful_since": job.doubtful_since or record.now})
    change = record.change(searched, lease).due(record.member, next_search(age, settle_seconds))
    ctx.store.upstreams.watch_for_extras(change, searched)
    ctx.store.upstreams.leave_queue(change, searched)
    await ctx.store.commit(change)
    return False


async def _hold(ctx: Context, record: JobRecord, lease: Lease, maybe: str | None) -> bool:
    """Waits for a person. `maybe`: the upstream's job that may be this one.

    It is kept: a person who imports it and does not cancel this one must not pay for a second one.
    """
    why = "The upstream did not say whether it created this job, and it cannot be found there."
    if maybe:
        why = (
            f"The upstream named the job {maybe}, which may be this one or not, so it is not created again. "
            "If it is this one, cancel this one here and import that."
        )
    noted = record.job.model_copy(update={"answered_with": maybe})
    held = JobRecord(noted, record.revision, record.now_ms, record.fields)
    return await wait_with_intent(ctx, held, lease, "unknown_outcome", why, 600.0)


def _pause_when_named(job: Job) -> float:
    """Returns the seconds until a named create is looked for: none at first, more after each one that was repeated."""
    return 0.0 if job.repeats == 0 else min(60.0, 2.0**job.repeats)


def _in_doubt_since(record: JobRecord) -> int:
    """Returns when a create may first have happened, in unix seconds.

    Without an intent or an unknown outcome, that is a create that a restored Redis has no record of.
    """
    return record.job.doubtful_since or (record.now if record.intent_ms else record.job.created_at)


async def find_existing(ctx: Context, record: JobRecord) -> list[UpstreamJob]:
    """Returns the upstream's jobs that are taken for this one, oldest first, without those of other jobs.

    Raises UpstreamAlikeJob if there is none, but one that may be this one.
    """
    job = record.job
    training, _ = await uploading.upstream_files(ctx, job)
    asked_at = (record.intent_ms or record.now_ms) // 1000
    since = min(asked_at, _in_doubt_since(record)) - SKEW_SECONDS
    upstream = ctx.upstreams[job.upstream]
    found = await upstream.find(job.spec, training=training, tag=ctx.tag(job), since=since)
    found = await _without_others(ctx, job, found)
    if not found:
        alike = await upstream.find_alike(job.spec, training=training, tag=ctx.tag(job), since=since)
        for one in await _without_others(ctx, job, alike):
            raise UpstreamAlikeJob(upstream=job.upstream, shown=one.id)
    return found


async def _without_others(ctx: Context, job: Job, found: list[UpstreamJob]) -> list[UpstreamJob]:
    others = await ctx.store.upstreams.of_others(job.upstream, [one.id for one in found], job.id)
    return [one for one in found if one.id not in others]
