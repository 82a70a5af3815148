"""The job at the upstream: asked for once, with the intent written first, and looked for when no answer came.

    create     intent written, lease still ours, intent younger than a second: then the one call that costs money
      busy     a 429 says that nothing was created; looked for all the same
      doubt    no usable answer: it may exist
    find_out   looks for it by our mark; adopts the oldest, or decides, after the settle time, that there is none
    track      the upstream has it; extras are cancelled

Anything but a plain answer is *unknown*, and nothing unknown is repeated before it was looked for. That, and
not any retry, is why no job is paid for twice.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from tunehook import event_types, telling, upload
from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.model import Job, JobError, Message, Stage, UpstreamJob
from tunehook.outcomes import settle, wait
from tunehook.store.jobs import JobRecord
from tunehook.store.lease import Lease
from tunehook.upstream import TAG
from tunehook.waiting import MOST_REPEATS, creates_again, next_look, pause_for, settle_time
from tunehook.wire import own_ids
from tunehook.world import World

log = logging.getLogger(__name__)

#: A create answers within 25 s or never (openai_upstream), its lease renewed meanwhile. Whoever gets the lease
#: after that finds the intent and looks for what it may have made.
INTENT_SECONDS = 20.0
#: The one call that costs money is made within so long of the intent, or not at all.
FRESH_SECONDS = 1.0
#: A tracked job is seen by the look; this is for the case that its entry there was lost.
REASSURE_SECONDS = 6 * 3600.0
#: Few creates are so late; these are looked for before the first one too.
LONG_SECONDS = 600
#: Clocks differ: an upstream may date a job this much before we wrote the intent.
SKEW_SECONDS = 600


async def create(world: World, record: JobRecord, lease: Lease) -> bool:
    """Asks for the job: intent written, lease still ours, intent younger than a second. Never paid twice."""
    job = record.job
    if record.intent_ms is not None:
        return await _find_out(world, record, lease)
    files = await upload.upstream_files(world, job)
    if not files[0] or (job.validation and not files[1]):  # somebody else's job found that the upstream lost them
        change = record.change(job.moved(Stage.UPLOADING), lease).due(record.member, 0.0)
        await world.store.commit(world.store.upstreams.leave_queue(change, job))
        return True
    held = await world.store.upstreams.held(job.upstream)
    if held:
        return await wait(world, record, lease, held.code, held.reason, max(1.0, held.until - record.now))
    if await world.store.upstreams.waits_behind(job):
        why = "Other jobs wait for a slot before this one."
        return await wait(world, record, lease, "no_slot", why, 60.0, queue=True)
    # What an earlier create made may have come to light since; and a job as old as this may have been created by a
    # Redis that was since restored from an older copy.
    if job.doubtful_since or record.now - job.created_at > LONG_SECONDS:
        try:
            found = await _look_for(world, record)
        except UpstreamError as error:
            return await _not_now(world, record, lease, error)
        if found:
            return await track(world, record, found, lease)
    await lease.renew()
    written = time.monotonic()
    intent = record.change(job, lease).due(record.member, INTENT_SECONDS)
    intent.stamp.append("intent")
    intent_ms = await world.store.commit(intent)
    record = replace(record, revision=record.revision + 1, intent_ms=intent_ms)
    if time.monotonic() - written > FRESH_SECONDS:
        await _withdraw(world, record, lease, again_in=1.0)
        return False
    return await _ask(world, record, lease, files)


async def _ask(world: World, record: JobRecord, lease: Lease, files: tuple[str, str | None]) -> bool:
    """The one call that costs money, and what each answer means."""
    job, upstream = record.job, world.upstreams[record.job.upstream]
    training, validation = files
    lease.check()
    try:
        made = await upstream.create(job.spec, training=training, validation=validation, tag=world.tag(job))
    except UpstreamRefused as refused:
        if await _lost_our_copy(world, record, lease, refused, training):
            return True
        code, message = refused.code or f"http_{refused.status}", own_ids(refused.message, job, files)
        error = JobError(code=code, message=message, param=refused.param)
        await settle(world, record, "failed", lease=lease, error=error)
    except UpstreamNotReady as error:
        if record.now - job.created_at > LONG_SECONDS:  # its owner is told why nothing happens
            return await wait(world, record, lease, "file_not_ready", own_ids(error.message, job, files), 60.0)
        await _withdraw(world, record, lease, again_in=3.0)
        return False
    except (UpstreamUnauthorized, UpstreamUnreachable) as away:
        return await _not_now(world, record, lease, away)
    except UpstreamBusy as busy:
        return await _busy(world, record, lease, busy, files)
    except UpstreamError as unknown:
        return await _doubt(world, record, lease, unknown)
    else:
        return await track(world, record, [made], lease)
    return True


async def _not_now(world: World, record: JobRecord, lease: Lease, error: UpstreamError) -> bool:
    """Nothing was created by this, for certain: the job waits, and says why."""
    if isinstance(error, UpstreamUnauthorized | UpstreamUnreachable):
        pause = await upload.hold(world, error)
        return await wait(world, record, lease, error.code or "upstream_on_hold", error.message, pause)
    return await wait(world, record, lease, "upstream_no_answer", error.message, error.retry_after or 10.0)


async def _busy(
    world: World, record: JobRecord, lease: Lease, busy: UpstreamBusy, files: tuple[str, str | None]
) -> bool:
    """A 429. It says that nothing was created, and has been seen to lie: looked for now, and watched for a day."""
    try:
        found = await _look_for(world, record)
    except UpstreamError as error:
        return await _doubt(world, record, lease, error)
    if found:
        return await track(world, record, found, lease)
    code, reason, pause = pause_for(busy)
    reason = own_ids(reason, record.job, files)
    job = record.job.model_copy(update={"doubtful_since": record.job.doubtful_since or record.now})
    record = replace(record, job=job)
    return await wait(world, record, lease, code, reason, pause, queue=code == "no_slot", doubt=True)


async def _withdraw(world: World, record: JobRecord, lease: Lease, *, again_in: float) -> None:
    """Nothing was created, for certain: the intent is taken back and the create comes again."""
    change = record.change(record.job, lease).due(record.member, again_in)
    change.clear.append("intent")
    await world.store.commit(change)


async def _doubt(world: World, record: JobRecord, lease: Lease, unknown: UpstreamError) -> bool:
    """The create may have happened. Said in the log, watched for extras for a day, then looked for."""
    doubtful = record.job.model_copy(update={"doubtful_since": record.job.doubtful_since or record.now})
    change = record.change(doubtful, lease).due(record.member, next_look(0.0, world.settle_seconds))
    world.store.upstreams.doubt(change, doubtful)
    world.store.upstreams.leave_queue(change, doubtful)  # nobody stands behind what may take minutes to decide
    text = f"{unknown.message} The job may exist there: it is looked for before it is created again."
    change.say(doubtful.id, Message(created_at=record.now, level="warn", message=text))
    await world.store.commit(change)
    return False


async def _find_out(world: World, record: JobRecord, lease: Lease) -> bool:
    """Looks for the job that an earlier create may have made; adopts the oldest, or decides that there is none."""
    job = record.job
    assert record.intent_ms is not None
    age = (record.now_ms - record.intent_ms) / 1000
    try:
        found = await _look_for(world, record)
    except UpstreamError as error:
        log.warning("looking for job %s at %s: %s", job.id, job.upstream, error.message)
        await world.store.commit(record.change(job, lease).due(record.member, 10.0))
        return False
    if found:
        return await track(world, record, found, lease)
    settle_seconds = settle_time(world.settle_seconds, job.repeats)
    if creates_again(age, job.looks + 1, settle_seconds):
        if record.cancel_requested_at:
            await settle(world, record, "cancelled", lease=lease)
            return True
        if world.on_unknown == "hold" or job.repeats >= MOST_REPEATS:
            why = "The upstream did not say whether it created this job, and it cannot be found there."
            return await wait(world, record, lease, "unknown_outcome", why, 600.0, keep_intent=True)
        again = job.model_copy(update={"looks": 0, "repeats": job.repeats + 1})
        change = record.change(again, lease).due(record.member, 20.0)
        change.clear.append("intent")
        await world.store.commit(change)
        return True
    looked = job.model_copy(update={"looks": job.looks + 1, "doubtful_since": job.doubtful_since or record.now})
    change = record.change(looked, lease).due(record.member, next_look(age, settle_seconds))
    world.store.upstreams.doubt(change, looked)
    world.store.upstreams.leave_queue(change, looked)
    await world.store.commit(change)
    return False


async def _look_for(world: World, record: JobRecord) -> list[UpstreamJob]:
    """The upstream's jobs that are this one, oldest first. What is another's of ours is not, however alike."""
    job = record.job
    training, _ = await upload.upstream_files(world, job)
    asked_at = (record.intent_ms or record.now_ms) // 1000
    # Without an intent or a doubt, what is looked for is what a restored Redis has forgotten.
    doubtful_since = job.doubtful_since or (record.now if record.intent_ms else job.created_at)
    since = min(asked_at, doubtful_since) - SKEW_SECONDS
    upstream = world.upstreams[job.upstream]
    found = await upstream.find(job.spec, training=training, tag=world.tag(job), since=since)
    others = await world.store.upstreams.of_others(job.upstream, [one.id for one in found], job.id)
    return [one for one in found if one.id not in others]


async def _lost_our_copy(
    world: World, record: JobRecord, lease: Lease, refused: UpstreamRefused, training: str
) -> bool:
    """The upstream does not know a file that it once took (deleted there, expired): once, it is sent again."""
    job = record.job
    about_files = refused.param in ("training_file", "validation_file") or training in refused.message
    if job.upload_again or not about_files or not await upload.is_lost(world, job):
        return False
    change = record.change(job.moved(Stage.UPLOADING, upload_again=1), lease).due(record.member, 0.0)
    change.clear.append("intent")
    world.store.upstreams.leave_queue(change, job)
    for file in job.files:
        world.store.files.lost(change, job.upstream, file)
    await world.store.commit(change)
    return True


async def track(world: World, record: JobRecord, found: list[UpstreamJob], lease: Lease) -> bool:
    """The upstream has it. The oldest is the job; any more are extras, and extras are cancelled.

    Only what bears our mark is cancelled: where an upstream shows none, another job with the same seed and file
    is as like as an extra. Raises AlreadyTracked if another job of ours was faster.
    """
    made = next((one for one in found if one.status != "cancelled"), found[0])
    extras = [one for one in found if one.id != made.id and (one.metadata or {}).get(TAG)]
    job = record.job.moved(Stage.TRACKED, upstream_job_id=made.id, seen=made, looks=0, news_at=record.now)
    change = record.change(job, lease).due(record.member, 0.0 if record.cancel_requested_at else REASSURE_SECONDS)
    change.clear.append("intent")
    world.store.upstreams.track(change, job, made)
    if made.status == "running":
        await telling.tell(world, change, job, event_types.RUNNING, now=record.now)
    text = f"Created at the upstream '{job.upstream}' as {made.id}"
    change.say(job.id, Message(created_at=record.now, message=text))
    following = await world.store.upstreams.next_waiting(job.upstream, besides=job.id)
    if following:
        change.wake(f"job:{following}")
    await world.store.commit(change)
    for extra in extras:
        await cancel_extra(world, job, extra)
    return bool(record.cancel_requested_at)


async def cancel_extra(world: World, job: Job, extra: UpstreamJob) -> None:
    """An upstream job that bears our tag beside the one we adopted: told and counted once, and cancelled.

    Told first: whoever dies in between leaves it to the next look, which finds it for as long as it runs.
    """
    does = "had ended before it was found" if extra.ended else "is cancelled"
    text = f"A repeated create made an extra job at the upstream, which {does}: {extra.id}"
    now = await world.store.now_ms() // 1000
    told = Message(created_at=now, level="warn", message=text, upstream_event_id=f"extra {extra.id}")
    await world.store.jobs.tell_extra(job, told)
    if extra.ended:
        return
    upstream = world.upstreams[job.upstream]
    try:
        await upstream.cancel(extra.id)
    except UpstreamError as error:
        log.warning("extra %s of job %s is not cancelled yet: %s", extra.id, job.id, error.message)
        return
    log.warning("extra %s of job %s cancelled", extra.id, job.id)
