"""What a turn of a job comes to, when it does not simply go on: it waits, or it has ended."""

from __future__ import annotations

import logging

from tunehook import epilogue, event_types, telling
from tunehook.model import JobError, Message, Stage, UpstreamJob, Waiting, new_id
from tunehook.store.jobs import JobRecord
from tunehook.store.lease import Lease
from tunehook.world import World

log = logging.getLogger(__name__)


async def wait(
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
