"""The dataset's way to the upstream: the same bytes to the same upstream once, whoever trains on them.

Up to 100 MB in one request; above, by the Uploads API in parts of 8 MiB, whose ids are saved as they are
taken, so that nothing is sent twice, and handed to the next step after 40 seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

from tunehook import notices
from tunehook.errors import (
    JobNotFound,
    LeaseLost,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    RevisionChanged,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.model import Copy, FileRef, Job, JobError, Message
from tunehook.store.commit import Change
from tunehook.store.connection import Lease
from tunehook.store.files import CopyRecord, copy_member
from tunehook.world import World

log = logging.getLogger(__name__)

#: Files above ~150 MB fail silently through `files.create`, according to users.
WHOLE_BYTES = 100_000_000
PART_BYTES = 8 * 1024 * 1024
STEP_SECONDS = 40.0
#: A step that is killed is taken up again when its lease has run out, or after this, whichever is later.
STEP_DUE = 16.0
#: How long nothing is sent to an upstream that refuses our key, or cannot be reached.
HOLD_SECONDS = {UpstreamUnauthorized: 60.0, UpstreamUnreachable: 15.0}


def upstream_name(file: FileRef) -> str:
    """Files have no metadata, so the name carries the identity."""
    return f"{file.id}.{file.sha256[:16]}.jsonl"


async def copies_of(world: World, job: Job) -> list[Copy | None]:
    records = [await world.store.files.copy(job.upstream, file.sha256) for file in job.files]
    return [record.copy if record else None for record in records]


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
    sending = _Sending(world, record, lease, waiters)
    try:
        lease.check()
        done = await (sending.whole(path) if copy.bytes <= WHOLE_BYTES else sending.in_parts(path))
    except FileNotFoundError:
        if await sending.other_source():
            return
        error = JobError(code="file_missing", message=f"The content of {copy.file_id} is no longer kept here.")
        await sending.refused(error)
    except UpstreamRefused as refused:
        code = refused.code or f"http_{refused.status}"
        await sending.refused(JobError(code=code, message=refused.message, param="training_file"))
    except (UpstreamUnauthorized, UpstreamUnreachable) as error:
        pause = await hold(world, error)
        await _later(world, sending.record, lease, waiters, pause=pause)
    except (UpstreamBusy, UpstreamError) as error:
        log.warning("uploading %s to %s: %s", copy.file_id, copy.upstream, error.message)
        pause = error.retry_after or min(300.0, 5.0 * 2**sending.record.copy.attempts)
        await _later(world, sending.record, lease, [], pause=pause)
    else:
        if not done:
            await _later(world, sending.record, lease, [], pause=0.0)


async def _later(world: World, record: CopyRecord, lease: Lease, waiters: list[str], *, pause: float) -> None:
    change = record.change(record.copy, lease).due(record.member, pause)
    for job_id in waiters:
        change.wake(f"job:{job_id}")  # they show why they wait
    await world.store.commit(change)


class _Sending:
    """One step's sending. Keeps the record up to date and tells the waiting jobs' logs how far it is."""

    def __init__(self, world: World, record: CopyRecord, lease: Lease, waiters: list[str]) -> None:
        self.world, self.record, self.lease, self.waiters = world, record, lease, waiters
        self._upstream = world.upstreams[record.copy.upstream]
        self._lock = asyncio.Lock()

    async def whole(self, path: Path) -> bool:
        copy = self.record.copy
        if copy.attempts:  # an answer may have been lost: is it there already?
            known = await self._known()
            if known:
                return await self._ready(known)
        await self._commit(copy.model_copy(update={"attempts": copy.attempts + 1}), due=STEP_DUE)
        self.lease.check()
        return await self._ready(await self._upstream.upload(path, copy.filename, self._progress))

    async def in_parts(self, path: Path) -> bool:
        """False when the time of a step is over and parts are missing."""
        until = time.monotonic() + STEP_SECONDS
        copy = self.record.copy
        if copy.upload_id is None:
            upload_id = await self._upstream.begin_parts(copy.filename, copy.bytes)
            await self._commit(
                copy.model_copy(update={"upload_id": upload_id, "parts": [], "bytes_sent": 0}), due=STEP_DUE
            )
        try:
            part = await asyncio.to_thread(_read_part, path, self.record.copy.bytes_sent)
            while (copy := self.record.copy).bytes_sent < copy.bytes:
                if time.monotonic() > until:
                    return False
                self.lease.check()
                assert copy.upload_id
                sent = copy.bytes_sent + len(part)
                part_id, part = await asyncio.gather(
                    self._upstream.add_part(copy.upload_id, part),
                    asyncio.to_thread(_read_part, path, sent),  # the next one, meanwhile
                )
                await self._commit(
                    copy.model_copy(update={"parts": [*copy.parts, part_id], "bytes_sent": sent}),
                    due=STEP_DUE,
                    tell=True,
                )
            assert copy.upload_id
            self.lease.check()
            return await self._ready(await self._upstream.end_parts(copy.upload_id, copy.parts))
        except UpstreamRefused:
            copy = self.record.copy
            known = await self._known()
            if known:  # it was joined, and only the answer was lost
                return await self._ready(known)
            if copy.attempts >= 3:
                raise
            # Uploads live for an hour there: one that is known no more is begun anew, but not for ever.
            again: dict[str, Any] = {
                "upload_id": None,
                "parts": [],
                "bytes_sent": 0,
                "attempts": copy.attempts + 1,
            }
            await self._commit(copy.model_copy(update=again), due=0.0)
            return False

    async def other_source(self) -> bool:
        """The file that these bytes were to come from is gone; another with the same bytes may do as well."""
        copy = self.record.copy
        for job_id in self.waiters:
            try:
                job = (await self.world.store.jobs.read(job_id)).job
            except (JobNotFound, RecordTooNew, RecordUnreadable):
                continue
            for file in job.files:
                if file.sha256 == copy.sha256 and await self.world.shelf.exists(file.id):
                    again = {"file_id": file.id, "filename": upstream_name(file)}
                    await self._commit(copy.model_copy(update=again), due=0.0)
                    return True
        return False

    async def _known(self) -> str | None:
        """The upstream's file that an earlier try made though its answer was lost.

        None that retention is about to delete there: it bears the same name, and would go under a live job. The note
        is read first, since a file is on it until it is gone there.
        """
        leaving = await self.world.store.forgetting.leaving_at(self.record.copy.upstream)
        known = await self._upstream.find_file(self.record.copy.filename, self.record.copy.bytes)
        return None if known in leaving else known

    async def refused(self, error: JobError) -> None:
        await self._end(self.record.copy.model_copy(update={"state": "refused", "error": error}))

    async def _ready(self, upstream_file_id: str) -> bool:
        done = {"state": "ready", "upstream_file_id": upstream_file_id, "bytes_sent": self.record.copy.bytes}
        await self._end(self.record.copy.model_copy(update=done), tell=True)
        return True

    async def _progress(self, sent: int) -> None:
        """Comes from a task that is cancelled when the upload ends: a commit once begun is carried to its end."""
        await asyncio.shield(self._at(sent))

    async def _at(self, sent: int) -> None:
        async with self._lock:
            if sent > self.record.copy.bytes_sent and self.record.copy.state == "wanted":
                change = self.record.copy.model_copy(update={"bytes_sent": sent})
                await self._commit(change, due=STEP_DUE, tell=True)

    async def _commit(self, copy: Copy, *, due: float, tell: bool = False) -> None:
        change = self.record.change(copy, self.lease).due(self.record.member, due)
        if tell:
            await self._tell(change, copy)
        await self.world.store.commit(change)
        self.record = CopyRecord(copy, self.record.revision + 1)

    async def _end(self, copy: Copy, *, tell: bool = False) -> None:
        async with self._lock:
            change = self.record.change(copy, self.lease)
            self.waiters = await self.world.store.files.waiters(copy.upstream, copy.sha256)
            self.world.store.files.release_waiters(change, copy)
            if copy.upstream_file_id:  # an upstream may give the same bytes the same id again
                self.world.store.forgetting.stays(change, copy.upstream, copy.upstream_file_id)
            if tell:
                await self._tell(change, copy)
            await self.world.store.commit(change)
            self.record = CopyRecord(copy, self.record.revision + 1)

    async def _tell(self, change: Change, copy: Copy) -> None:
        now = await self.world.store.now_ms() // 1000
        progress = {"bytes_sent": copy.bytes_sent, "bytes_total": copy.bytes}
        text = f"Uploaded {copy.bytes_sent} of {copy.bytes} bytes"
        for job_id in self.waiters:
            change.say(job_id, Message(created_at=now, message=text, data=progress))


def _read_part(path: Path, offset: int) -> bytes:
    with path.open("rb") as source:
        source.seek(offset)
        return source.read(PART_BYTES)
