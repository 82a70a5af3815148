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

from tunehook import creating, epilogue, event_types, notices, telling, upload
from tunehook.creating import REASSURE_SECONDS
from tunehook.errors import (
    AlreadyTracked,
    Conflict,
    IllegalMove,
    JobAlreadyEnded,
    JobNotFound,
    LeaseLost,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    RevisionChanged,
    UpstreamError,
    UpstreamRefused,
)
from tunehook.model import Job, Message, Stage, UpstreamJob
from tunehook.outcomes import settle, wait
from tunehook.store.commit import AlreadyThere
from tunehook.store.jobs import JobRecord
from tunehook.store.lease import Lease
from tunehook.world import World

log = logging.getLogger(__name__)

#: What an older worker gets hold of by chance is soon a newer one's turn.
NEWER_SECONDS = 5.0


async def submit(
    world: World, job: Job, *, remember: list[tuple[str, int]], recall: list[tuple[str, str]]
) -> JobRecord:
    """Accepts a job; returns it, or the job which an earlier, identical call made.

    `remember`: (key, seconds) under which repeats of this call will find the job; `recall`: (key, job) by which
    this one is a repeat itself, if another job than that stands there. Both happen inside the one commit.
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
    except AlreadyTracked as error:  # its own is looked for again
        log.warning("%s", error.message)
        await world.store.plan(member, 10.0)
    except JobNotFound:
        await world.store.unplan(member)
    except RecordTooNew as error:
        log.info("left to a newer worker: %s", error.message)
        await world.store.forgive(member)
        await world.store.plan(member, NEWER_SECONDS)
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
            return await creating.create(world, record, lease)
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
    return await wait(world, record, lease, "upstream_missing", why, 60.0, resume=resume, keep_intent=True)


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
        return await wait(world, record, lease, held.code, held.reason, pause, resume=Stage.UPLOADING)
    stuck = upload.stuck(copies)
    if stuck:  # the next try wakes us with what came of it
        pause = max(20.0, (stuck.retry_at or 0) - record.now)
        return await wait(world, record, lease, stuck.code, stuck.reason, pause, resume=Stage.UPLOADING)
    stays = job.moved(Stage.UPLOADING)
    await world.store.commit(record.change(stays, lease).due(record.member, 60.0))
    return False


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
