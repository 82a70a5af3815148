"""The story of a job, told in order. Whoever opens this file learns the program.

    submit     a client asks; one commit makes record, indexes and due time           (in the API)
    advance    what a step does: takes the lease, then goes as far as it can          (in a worker)
      begin    the dataset's bytes are wanted at the upstream, once for all jobs      → upload.py
      create   the upstream is asked for the job, with the intent written first
      find_out the outcome of a create is unknown: look for it before trying again
      track    the upstream has it; from now on one look sees all                     → look.py
      settle   the end; its event is in the same commit                               → delivery.py
      epilogue result files, and the events that come late                            → epilogue.py
    cancel     at any stage

Each turn reads the record, does one thing outside, and commits; a commit that is refused because somebody
was faster, or because the lease is lost, is simply taken up again by whoever finds the job due.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from tunehook import epilogue, event_types, notices, telling, upload
from tunehook.errors import (
    Conflict,
    IllegalMove,
    JobAlreadyEnded,
    JobNotFound,
    LeaseLost,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    RevisionChanged,
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.model import Job, JobError, Message, Stage, UpstreamJob, Waiting, new_id
from tunehook.store.commit import AlreadyThere
from tunehook.store.connection import Lease
from tunehook.store.jobs import JobRecord
from tunehook.waiting import creates_again, next_look, pause_for
from tunehook.world import World

log = logging.getLogger(__name__)

#: A create answers within 25 s or never (openai_upstream), its lease renewed meanwhile. Whoever gets the lease
#: after that finds the intent and looks for what it may have made.
INTENT_SECONDS = 20.0
#: The one call that costs money is made within so long of the intent, or not at all.
FRESH_SECONDS = 1.0
#: A tracked job is seen by the look; this is for the case that its entry there was lost.
REASSURE_SECONDS = 6 * 3600.0
#: Clocks differ: an upstream may date a job this much before we wrote the intent.
SKEW_SECONDS = 600


async def submit(world: World, job: Job, *, remember: list[tuple[str, int]], recall: list[str]) -> JobRecord:
    """Accepts a job; returns it, or the job which an earlier, identical call made.

    `remember`: (key, seconds) under which repeats of this call will find the job; `recall`: those of them
    that decide whether this one is such a repeat. Both happen inside the one commit.
    """
    change = world.store.jobs.submission(job)
    change.guards += recall
    for key, seconds in remember:
        change.do("SET", key, job.id, "EX", seconds)
    change.say(job.id, Message(created_at=job.created_at, message=f"Accepted fine-tuning job: {job.id}"))
    await telling.tell(world, change, job, event_types.CREATED, now=job.created_at)
    try:
        now_ms = await world.store.commit(change)
    except AlreadyThere as earlier:
        return await world.store.jobs.read(earlier.value, job.project)
    return JobRecord(job=job, revision=1, now_ms=now_ms)


async def advance(world: World, job_id: str) -> None:
    """One step: goes on with a job until it has to wait for something."""
    member = f"job:{job_id}"
    try:
        async with world.store.lease(member) as lease:
            while await _turn(world, job_id, lease):
                pass
    except (LeaseTaken, LeaseLost):
        return  # somebody is at it; if not, the job is due again soon
    except (RevisionChanged, IllegalMove):
        await world.store.wake(member)
    except JobNotFound:
        await world.store.unplan(member)
    except RecordTooNew as error:
        log.info("left to a newer worker: %s", error.message)
        await world.store.forgive(member)
    except RecordUnreadable as error:
        log.error("%s is parked: %s", member, error.message)
        await world.store.park(member)


async def _turn(world: World, job_id: str, lease: Lease) -> bool:
    """One thing; True if there is more to be done at once."""
    record = await world.store.jobs.read(job_id)
    job = record.job
    if job.stage is Stage.SETTLED:
        return await epilogue.conclude(world, record)
    if record.cancel_requested_at and record.intent_ms is None and not job.upstream_job_id:
        await settle(world, record, "cancelled", lease=lease)
        return True
    if job.upstream not in world.upstreams:
        return await _without_upstream(world, record, lease)
    match job.stage:
        case Stage.ACCEPTED:
            return await _begin(world, record, lease)
        case Stage.UPLOADING:
            return await _when_uploaded(world, record, lease)
        case Stage.WAITING if job.waiting and job.waiting.resume is Stage.UPLOADING:
            return await _when_uploaded(world, record, lease)
        case Stage.CREATING | Stage.WAITING:
            return await _create(world, record, lease)
        case Stage.TRACKED:
            return await _tracked(world, record, lease)
    raise AssertionError(job.stage)


async def _without_upstream(world: World, record: JobRecord, lease: Lease) -> bool:
    """Its upstream is not in the settings any more. Nothing of what is known of it is given up for that."""
    job = record.job
    if job.stage in (Stage.ACCEPTED, Stage.TRACKED):
        await world.store.commit(record.change(job, lease).due(record.member, 60.0))
        return False
    uploading = job.stage is Stage.UPLOADING or (job.waiting and job.waiting.resume is Stage.UPLOADING)
    resume = Stage.UPLOADING if uploading else Stage.CREATING
    why = f"There is no upstream '{job.upstream}' in the settings any more."
    return await _wait(world, record, lease, "upstream_missing", why, 60.0, resume=resume, keep_intent=True)


# ---- the dataset


async def _begin(world: World, record: JobRecord, lease: Lease) -> bool:
    job = record.job
    for file in job.files:
        await world.store.files.want_copy(job.upstream, file, upload.upstream_name(file), job.id)
    moved = job.moved(Stage.UPLOADING)
    await world.store.commit(record.change(moved, lease).due(record.member, 20.0))
    return True


async def _when_uploaded(world: World, record: JobRecord, lease: Lease) -> bool:
    """Goes on when all its files are there; the upload wakes us, the minute is for the case that it cannot."""
    job = record.job
    copies = await upload.copies_of(world, job)
    for file, copy in zip(job.files, copies, strict=True):
        # Wanted once more, each time: whoever asked for it may have been all that kept it going, and be gone.
        if copy is None or copy.state == "wanted":
            await world.store.files.want_copy(job.upstream, file, upload.upstream_name(file), job.id)
    for copy in copies:
        if copy is not None and copy.state == "refused":
            await settle(world, record, "failed", lease=lease, error=copy.error)
            return True
    if all(copy is not None and copy.state == "ready" for copy in copies):
        await world.store.commit(record.change(job.moved(Stage.CREATING), lease).due(record.member, 20.0))
        return True
    held = await world.store.upstreams.held(job.upstream)
    if held:
        pause = max(1.0, held.until - record.now)
        return await _wait(world, record, lease, held.code, held.reason, pause, resume=Stage.UPLOADING)
    stays = job.moved(Stage.UPLOADING)
    await world.store.commit(record.change(stays, lease).due(record.member, 60.0))
    return False


# ---- the job at the upstream


async def _create(world: World, record: JobRecord, lease: Lease) -> bool:
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
        return await _wait(world, record, lease, held.code, held.reason, max(1.0, held.until - record.now))
    if await world.store.upstreams.waits_behind(job):
        why = "Other jobs wait for a slot before this one."
        return await _wait(world, record, lease, "no_slot", why, 60.0, queue=True)
    if job.doubtful_since:  # what an earlier create made may have come to light since
        found = await _look_for(world, record)
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
        made = await upstream.create(job.spec, training=training, validation=validation, tag=world.tag(job.id))
    except UpstreamRefused as refused:
        if await _lost_our_copy(world, record, lease, refused, training):
            return True
        await settle(world, record, "failed", lease=lease, error=_refusal(refused))
    except UpstreamNotReady:
        await _withdraw(world, record, lease, again_in=3.0)
        return False
    except (UpstreamUnauthorized, UpstreamUnreachable) as error:
        pause = await upload.hold(world, error)
        return await _wait(world, record, lease, error.code or type(error).__name__, error.message, pause)
    except UpstreamBusy as busy:
        return await _busy(world, record, lease, busy)
    except UpstreamError as unknown:
        return await _doubt(world, record, lease, unknown)
    else:
        return await track(world, record, [made], lease)
    return True


async def _busy(world: World, record: JobRecord, lease: Lease, busy: UpstreamBusy) -> bool:
    """A 429. It says that nothing was created, and has been seen to lie: looked for now, and watched for a day."""
    try:
        found = await _look_for(world, record)
    except UpstreamError as error:
        return await _doubt(world, record, lease, error)
    if found:
        return await track(world, record, found, lease)
    code, reason, pause = pause_for(busy)
    job = record.job.model_copy(update={"doubtful_since": record.job.doubtful_since or record.now})
    record = replace(record, job=job)
    return await _wait(world, record, lease, code, reason, pause, queue=code == "no_slot", doubt=True)


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
    if creates_again(age, job.looks + 1, world.settle_seconds):
        if record.cancel_requested_at:
            await settle(world, record, "cancelled", lease=lease)
            return True
        if world.on_unknown == "hold":
            why = "The upstream did not say whether it created this job, and it cannot be found there."
            return await _wait(world, record, lease, "unknown_outcome", why, 600.0, keep_intent=True)
        change = record.change(job.model_copy(update={"looks": 0}), lease).due(record.member, 20.0)
        change.clear.append("intent")
        await world.store.commit(change)
        return True
    looked = job.model_copy(update={"looks": job.looks + 1, "doubtful_since": job.doubtful_since or record.now})
    change = record.change(looked, lease).due(record.member, next_look(age, world.settle_seconds))
    world.store.upstreams.doubt(change, looked)
    await world.store.commit(change)
    return False


async def _look_for(world: World, record: JobRecord) -> list[UpstreamJob]:
    job = record.job
    training, _ = await upload.upstream_files(world, job)
    since = min((record.intent_ms or record.now_ms) // 1000, job.doubtful_since or record.now) - SKEW_SECONDS
    upstream = world.upstreams[job.upstream]
    return await upstream.find(job.spec, training=training, tag=world.tag(job.id), since=since)


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
    """The upstream has it. The oldest is the job; any more are extras, and extras are cancelled."""
    made = next((one for one in found if one.status != "cancelled"), found[0])
    extras = [one for one in found if one.id != made.id]
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


async def _tracked(world: World, record: JobRecord, lease: Lease) -> bool:
    """Due while tracked: it shall be cancelled; or nobody has looked for long, and the look is reminded."""
    job = record.job
    assert job.upstream_job_id
    assert job.seen
    if not record.cancel_requested_at:
        stalled = notices.is_stalled(job, record.now)
        noted = job.model_copy(update={"stalled_at": record.now}) if stalled else job
        change = record.change(noted, lease).due(record.member, REASSURE_SECONDS)
        if stalled:
            await telling.tell(world, change, noted, event_types.STALLED, now=record.now)
        await world.store.commit(world.store.upstreams.track(change, job, job.seen))
        return False
    upstream = world.upstreams[job.upstream]
    lease.check()
    try:
        try:
            seen = await upstream.cancel(job.upstream_job_id)
        except UpstreamRefused:
            seen = await upstream.retrieve(job.upstream_job_id)  # it had ended before it could be cancelled
    except UpstreamError as error:
        log.warning("cancelling job %s at %s: %s", job.id, job.upstream, error.message)
        await world.store.commit(record.change(job, lease).due(record.member, 10.0))
        return False
    return await observe(world, record, seen, lease)


async def observe(world: World, record: JobRecord, seen: UpstreamJob, lease: Lease | None = None) -> bool:
    """What the upstream now says of a tracked job; True if that was its end."""
    job = record.job
    if seen.ended:
        await settle(world, record, seen.status, lease=lease, seen=seen, error=seen.error)
        return True
    moved = job.moved(Stage.TRACKED, seen=seen, news_at=record.now, stalled_at=None)
    change = record.change(moved, lease)
    world.store.upstreams.noticed(change, job, seen)
    if seen.status == "running" and job.seen and job.seen.status != "running":
        await telling.tell(world, change, moved, event_types.RUNNING, now=record.now)
    if lease is not None:
        change.due(record.member, 10.0)
    await world.store.commit(change)
    return False


async def _wait(
    world: World,
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
        world.store.upstreams.queue_up(change, job)
    elif doubt:  # it has left the queue for slots with an answer about something else
        world.store.upstreams.leave_queue(change, job)
    if doubt:
        world.store.upstreams.doubt(change, job)
    if job.waiting is None or job.waiting.code != code:
        change.say(job.id, Message(created_at=record.now, level="warn", message=f"Waiting: {reason}"))
        await telling.tell(world, change, moved, event_types.WAITING, now=record.now)
    await world.store.commit(change)
    return False


# ---- ends


async def settle(
    world: World,
    record: JobRecord,
    status: str,
    *,
    lease: Lease | None = None,
    error: JobError | None = None,
    seen: UpstreamJob | None = None,
) -> None:
    """The end of a job, and in the same commit the event that tells of it."""
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
    change = record.change(job, lease).due(record.member, 0.0 if job.upstream_job_id else None)
    change.clear.append("intent")
    world.store.jobs.release(change, job)
    for file in epilogue.result_records(job):
        world.store.files.entry(change, file)
    if seen and seen.fine_tuned_model:
        world.store.models.name(change, job, seen.fine_tuned_model)
    await telling.tell(world, change, job, f"fine_tuning.job.{status}", now=record.now)
    if status == "succeeded" and await telling.is_told(world, job.project, event_types.READY):
        change.due(f"ready:{job.id}", 0.0)
    if not job.upstream_job_id:
        text = f"The job was {status}" + (f": {error.message}" if error else "")
        level = "error" if status == "failed" else "info"
        change.say(job.id, Message(created_at=record.now, level=level, message=text))
    following = await world.store.upstreams.next_waiting(job.upstream, besides=job.id)
    if following:
        change.wake(f"job:{following}")
    await world.store.commit(change)
    log.info("job %s %s", job.id, status)


async def cancel(world: World, job_id: str, project: str) -> JobRecord:
    """Ends a job that is nowhere yet on the spot; one that may be at the upstream is marked, and its step ends it.

    A race with a step is decided by the revision: whoever commits second reads again.
    """
    for _ in range(10):
        record = await world.store.jobs.read(job_id, project)
        job = record.job
        if job.stage is Stage.SETTLED:
            if job.status == "cancelled":
                return record
            raise JobAlreadyEnded(id=job.id, status=job.status)
        if record.intent_ms is not None or job.upstream_job_id:
            break
        try:
            await settle(world, record, "cancelled")
        except Conflict:
            continue
        return await world.store.jobs.read(job_id, project)
    await world.store.jobs.mark_cancelled(job_id)
    return await world.store.jobs.read(job_id, project)


def _refusal(refused: UpstreamRefused) -> JobError:
    return JobError(code=refused.code or f"http_{refused.status}", message=refused.message, param=refused.param)
