"""The dataset's way to the upstream: the same bytes to the same upstream once, whoever trains on them.

Up to 100 MB in one request; above, by the Uploads API in parts of 8 MiB, whose ids are saved as they are
taken, so that nothing is sent twice, and handed to the next step after 40 seconds (sending.py). An upstream
without that API gets one long request.
"""

from __future__ import annotations

import logging

from tunehook import notices
from tunehook.errors import (
    JobNotFound,
    LeaseLost,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    RevisionChanged,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.model import Copy, FileRef, Job, JobError, Waiting
from tunehook.sending import Sending
from tunehook.store.files import CopyRecord, copy_member
from tunehook.store.lease import Lease
from tunehook.world import World

log = logging.getLogger(__name__)

#: Files above ~150 MB fail silently through `files.create`, according to users.
WHOLE_BYTES = 100_000_000
#: How long nothing is sent to an upstream that refuses our key, or cannot be reached.
HOLD_SECONDS = {UpstreamUnauthorized: 60.0, UpstreamUnreachable: 15.0}


def upstream_name(file: FileRef) -> str:
    """Files have no metadata, so the name carries the identity."""
    return f"{file.id}.{file.sha256[:16]}.jsonl"


async def copies_of(world: World, job: Job) -> list[Copy | None]:
    records = [await world.store.files.copy(job.upstream, file.sha256) for file in job.files]
    return [record.copy if record else None for record in records]


def stuck(copies: list[Copy | None]) -> Waiting | None:
    """Why one of them is not sent now, though nothing is on hold."""
    return next((copy.waiting for copy in copies if copy and copy.state == "wanted" and copy.waiting), None)


async def upstream_files(world: World, job: Job) -> tuple[str, str | None]:
    """The ids there of training and validation file, both uploaded."""
    ids: list[str] = []
    for file in (job.training, job.validation):
        record = None if file is None or file.upstream_id else await world.store.files.copy(job.upstream, file.sha256)
        ids.append((file and file.upstream_id) or (record and record.copy.upstream_file_id) or "")
    return ids[0], ids[1] or None


async def is_lost(world: World, job: Job) -> bool:
    """Whether the upstream knows the files no more; when it does not say, they are not called lost."""
    upstream = world.upstreams[job.upstream]
    copies = [copy for copy in await copies_of(world, job) if copy]
    try:
        return any([await upstream.find_file(copy.filename, copy.bytes) is None for copy in copies])
    except UpstreamError:
        return False


async def hold(world: World, error: UpstreamError) -> float:
    """Nothing is sent there for some seconds, and no job fails for it."""
    seconds = HOLD_SECONDS[type(error)]
    code = "upstream_unauthorized" if isinstance(error, UpstreamUnauthorized) else "upstream_unreachable"
    error.code = error.code or code
    log.warning("upstream %s on hold for %d s: %s", error.upstream, seconds, error.message)
    if isinstance(error, UpstreamUnauthorized):
        await notices.refused(world, error, seconds)
    else:
        await world.store.upstreams.hold(error.upstream, error.code, error.message, seconds)
    return seconds


async def upload(world: World, upstream_name: str, sha256: str) -> None:
    """One step: sends what is missing, as far as it comes."""
    member = copy_member(upstream_name, sha256)
    try:
        async with world.store.lease(member) as lease:
            record = await world.store.files.copy(upstream_name, sha256)
            if record is None or record.copy.state != "wanted":
                await world.store.unplan(member)
                return
            await _send(world, record, lease)
    except (LeaseTaken, LeaseLost):
        return  # somebody else is at it, or will be
    except RevisionChanged:
        await world.store.wake(member)
    except RecordTooNew:
        await world.store.forgive(member)  # a newer worker's business
    except RecordUnreadable as error:
        log.error("%s is parked: %s", member, error.message)
        await world.store.park(member)


async def _send(world: World, record: CopyRecord, lease: Lease) -> None:
    copy = record.copy
    waiters = await world.store.files.waiters(copy.upstream, copy.sha256)
    path = world.shelf.path(copy.file_id)
    held = await world.store.upstreams.held(copy.upstream)
    if copy.upstream not in world.upstreams or held:
        await _later(world, record, lease, waiters, pause=15.0)
        return
    if not waiters:
        await world.store.files.rest(copy.upstream, copy.sha256)  # all were cancelled; who wants it plans it again
        return
    sending = Sending(world, record, lease, waiters)
    try:
        lease.check()
        done = await (sending.whole(path) if copy.bytes <= WHOLE_BYTES else sending.in_parts(path))
    except FileNotFoundError:
        if await _other_source(world, sending):
            return
        error = JobError(code="file_missing", message=f"The content of {copy.file_id} is no longer kept here.")
        await sending.refused(error)
    except UpstreamRefused as refused:
        code = refused.code or f"http_{refused.status}"
        await sending.refused(JobError(code=code, message=refused.message, param="training_file"))
    except (UpstreamUnauthorized, UpstreamUnreachable) as error:
        pause = await hold(world, error)
        await _later(world, sending.record, lease, waiters, pause=pause)
    except UpstreamError as error:
        log.warning("uploading %s to %s: %s", copy.file_id, copy.upstream, error.message)
        await sending.failed(error)
    else:
        if not done:
            await _later(world, sending.record, lease, [], pause=0.0)


async def _later(world: World, record: CopyRecord, lease: Lease, waiters: list[str], *, pause: float) -> None:
    change = record.change(record.copy, lease).due(record.member, pause)
    for job_id in waiters:
        change.wake(f"job:{job_id}")  # they show why they wait
    await world.store.commit(change)


async def _other_source(world: World, sending: Sending) -> bool:
    """The file that these bytes were to come from is gone; another with the same bytes may do as well."""
    for job_id in sending.waiters:
        try:
            job = (await world.store.jobs.read(job_id)).job
        except (JobNotFound, RecordTooNew, RecordUnreadable):
            continue
        copy = sending.record.copy
        for file in job.files:
            same = file.sha256 == copy.sha256 and file.id != copy.file_id
            if same and await world.shelf.exists(file.id):
                await sending.from_another(file, upstream_name(file))
                return True
    return False
