"""How long to wait, and for what. Pure."""

from __future__ import annotations

import logging
import time

from tunehook.context import Context
from tunehook.errors import (
    Conflict,
    JobNotFound,
    RecordUnreadable,
    UpstreamError,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.jobs import tracking, uploading
from tunehook.jobs.finishing import settle
from tunehook.jobs.tracking import track
from tunehook.jobs.waiting import wait_with_intent
from tunehook.model.job import Message, Stage, UpstreamJob, mark_of
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.upstreams.protocol import Upstream

log = logging.getLogger(__name__)

#: A create of unknown outcome is believed not to have happened after the settle time and so many empty looks.
EMPTY_SEARCHES = 3
#: So often a create of unknown outcome is made again, each time but the first after twice as long; then a person has
#: to see what kind of upstream this is: one that creates jobs and shows none would be paid for each.
MOST_REPEATS = 4
#: How often extras of a create with unknown outcome are looked for, and of how many jobs a look.
EXTRAS_SECONDS = 300.0
EXTRAS_A_POLL = 20
#: Few creates are so late; these are looked for before the first one too.
LONG_SECONDS = 600
#: Clocks differ: an upstream may date a job this much before we wrote the intent.
SKEW_SECONDS = 600


def next_search(age: float, settle: float) -> float:
    """Seconds until the next look for a create that is `age` seconds old: 3, then doubling its age, the last
    one just after the settle time; so at least three fall into any settle time, and few into a long one."""
    pause = min(max(3.0, age), 60.0)
    remaining = settle + 0.5 - age
    return min(pause, remaining) if remaining > 0 else 1.0


def may_create_again(age: float, looks: int, settle: float) -> bool:
    """Whether a create that was never found may be tried again: after the settle time and three empty looks."""
    return age >= settle and looks >= EMPTY_SEARCHES


def settle_time(settle: float, repeats: int) -> float:
    """Seconds for which a create is looked for that has been repeated so often already."""
    return settle * 2.0 ** max(0, repeats - 1)


async def find_extras(ctx: Context, upstream: Upstream, doubtful: list[str], lease: Lease, until: float) -> None:
    """Looks by mark for what a create of unknown outcome may have made, wherever in the list it stands: each
    doubtful job every few minutes, for a day. One that cannot be looked for holds up no other."""
    due = await ctx.store.upstreams.extras_to_find(
        upstream.name, doubtful, older_than=EXTRAS_SECONDS, limit=EXTRAS_A_POLL
    )
    for record in await ctx.store.jobs.read_many(due):
        job = record.job
        if time.monotonic() > until:
            return  # the others' turn comes again in some minutes
        lease.check()
        since = (job.doubtful_since or job.created_at) - SKEW_SECONDS
        try:
            found = await upstream.find(job.spec, training="", tag=ctx.tag(job), since=since)
        except (UpstreamUnauthorized, UpstreamUnreachable):
            raise
        except UpstreamError as error:
            log.warning("looking for extras of job %s at %s: %s", job.id, upstream.name, error.message)
            continue
        for upstream_job in found:
            await check_unlisted(ctx, upstream, upstream_job, doubtful, lease)


async def check_unlisted(
    ctx: Context, upstream: Upstream, upstream_job: UpstreamJob, doubtful: list[str], lease: Lease
) -> None:
    """A job there that is not among the live: somebody else's, a settled one of ours, or an extra."""
    deployment, job_id = mark_of(upstream_job)
    if not job_id or (upstream_job.ended and job_id not in doubtful):
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
        await ctx.store.wake(record.member)  # its step is looking for just this one


async def note_unknown(ctx: Context, record: JobRecord, lease: Lease, unknown: UpstreamError) -> bool:
    """The create may have happened. Said in the log, watched for extras for a day, then looked for."""
    doubtful = record.job.model_copy(update={"doubtful_since": record.job.doubtful_since or record.now})
    change = record.change(doubtful, lease).due(record.member, next_search(0.0, ctx.settle_seconds))
    ctx.store.upstreams.watch_for_extras(change, doubtful)
    ctx.store.upstreams.leave_queue(change, doubtful)  # nobody stands behind what may take minutes to decide
    text = f"{unknown.message} The job may exist there: it is looked for before it is created again."
    change.say(doubtful.id, Message(created_at=record.now, level="warn", message=text))
    await ctx.store.commit(change)
    return False


async def find_out(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Looks for the job that an earlier create may have made; adopts the oldest, or decides that there is none."""
    job = record.job
    assert record.intent_ms is not None
    age = (record.now_ms - record.intent_ms) / 1000
    try:
        found = await find_existing(ctx, record)
    except UpstreamError as error:
        log.warning("looking for job %s at %s: %s", job.id, job.upstream, error.message)
        await ctx.store.commit(record.change(job, lease).due(record.member, 10.0))
        return False
    if found:
        return await track(ctx, record, found, lease)
    settle_seconds = settle_time(ctx.settle_seconds, job.repeats)
    if may_create_again(age, job.looks + 1, settle_seconds):
        if record.cancel_requested_at:
            await settle(ctx, record, "cancelled", lease=lease)
            return True
        if ctx.on_unknown == "hold" or job.repeats >= MOST_REPEATS:
            why = "The upstream did not say whether it created this job, and it cannot be found there."
            return await wait_with_intent(ctx, record, lease, "unknown_outcome", why, 600.0)
        again = job.model_copy(update={"looks": 0, "repeats": job.repeats + 1})
        change = record.change(again, lease).due(record.member, 20.0)
        change.clear.append("intent")
        await ctx.store.commit(change)
        return True
    looked = job.model_copy(update={"looks": job.looks + 1, "doubtful_since": job.doubtful_since or record.now})
    change = record.change(looked, lease).due(record.member, next_search(age, settle_seconds))
    ctx.store.upstreams.watch_for_extras(change, looked)
    ctx.store.upstreams.leave_queue(change, looked)
    await ctx.store.commit(change)
    return False


async def find_existing(ctx: Context, record: JobRecord) -> list[UpstreamJob]:
    """The upstream's jobs that are this one, oldest first. What is another's of ours is not, however alike."""
    job = record.job
    training, _ = await uploading.upstream_files(ctx, job)
    asked_at = (record.intent_ms or record.now_ms) // 1000
    # Without an intent or a doubt, what is looked for is what a restored Redis has forgotten.
    doubtful_since = job.doubtful_since or (record.now if record.intent_ms else job.created_at)
    since = min(asked_at, doubtful_since) - SKEW_SECONDS
    upstream = ctx.upstreams[job.upstream]
    found = await upstream.find(job.spec, training=training, tag=ctx.tag(job), since=since)
    others = await ctx.store.upstreams.of_others(job.upstream, [one.id for one in found], job.id)
    return [one for one in found if one.id not in others]
