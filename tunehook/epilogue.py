"""After the end: result files fetched and kept as ours, and the events that arrive late. No webhook waits for it."""

from __future__ import annotations

import logging

from tunehook import events, notices
from tunehook.errors import FileNotFound, UpstreamError, UpstreamRefused
from tunehook.model import File, Job
from tunehook.store.jobs import JobRecord
from tunehook.world import World

log = logging.getLogger(__name__)

#: An upstream's last events come up to 8 s after `finished_at`.
LATE_EVENTS_SECONDS = 15
#: An upstream that does not give the results for so long does not have them.
GIVE_UP_SECONDS = 24 * 3600


def result_records(job: Job) -> list[File]:
    """The job's result files as they are before they are fetched: known by name, their bytes still to come."""
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


async def conclude(world: World, record: JobRecord) -> bool:
    """One turn of a settled job; plans the next one, or none. Never changes what was told."""
    job = record.job
    store = world.store
    if not job.upstream_job_id or job.upstream not in world.upstreams:
        await store.unplan(record.member)
        return False
    since_end = record.now - (job.settled_at or 0)
    missing: list[str] = []
    for what, fetch in (("events", events.fetch), ("results", _fetch_results), ("checkpoints", _checkpoints)):
        try:
            await fetch(world, job)
        except UpstreamRefused as refused:
            log.info("%s of job %s: the upstream has none: %s", what, job.id, refused.message)
        except UpstreamError as error:
            log.warning("%s of job %s: %s", what, job.id, error.message)
            missing.append(what)
    if missing and since_end <= GIVE_UP_SECONDS:
        await store.plan(record.member, min(600.0, max(5.0, since_end)))
    elif since_end < LATE_EVENTS_SECONDS:
        await store.plan(record.member, LATE_EVENTS_SECONDS - since_end + 1)
    else:
        if missing:
            log.warning("job %s: %s are given up", job.id, ", ".join(missing))
        await store.unplan(record.member)
    return False


async def _checkpoints(world: World, job: Job) -> None:
    """An upstream may make them without a word in its events."""
    await notices.checkpoints(world, job.id)


async def _fetch_results(world: World, job: Job) -> None:
    """Each result file that is still missing."""
    for upstream_file_id, file_id in job.result_files.items():
        try:
            file = await world.store.files.read(file_id, job.project)
        except FileNotFound:
            continue  # deleted by its owner
        if file.status != "uploaded":
            continue
        try:
            content = await world.upstreams[job.upstream].result(upstream_file_id)
        except UpstreamRefused as refused:
            gone = {"status": "error", "status_details": f"The upstream does not give it: {refused.message}"}
            await world.store.files.replace(file.model_copy(update=gone))
            continue
        sha256 = await world.shelf.save(file_id, content)
        kept = {"status": "processed", "bytes": len(content), "sha256": sha256}
        await world.store.files.replace(file.model_copy(update=kept))
