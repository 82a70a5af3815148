"""Transfer: sends a copy's bytes to an upstream, in one request or in parts.

Each accepted part is saved and each result written at once; the jobs that wait for the copy are woken or see it in
their logs. copy_step.py decides when to send and what a failure means.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from tunehook.context import Context
from tunehook.errors import DataDirUnavailable, UpstreamBusy, UpstreamError, UpstreamRefused
from tunehook.files.storage import Blob
from tunehook.model.file import Copy
from tunehook.model.job import FileRef, JobError, Message, Stage, Waiting
from tunehook.model.member import job_member
from tunehook.store import tally
from tunehook.store.copies import CopyRecord
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease

log = logging.getLogger(__name__)

PART_BYTES = 8 * 1024 * 1024
STEP_SECONDS = 40.0
#: How many lines of progress a file has in a job's log; the copy's record is updated each time.
LOGGED_TIMES = 20
#: A step that is killed is repeated when its lease has ended, or after this, whichever is later.
STEP_DUE = 16.0
#: The statuses with which an upstream without an Uploads API answers.
NO_UPLOADS = frozenset({404, 405, 501})
#: Pauses after failures in a row double from the first to the second.
PAUSES = (5.0, 300.0)
#: From so many failures in a row, or at such a pause, the jobs show that they wait; a shorter failure is not shown.
SHOWN_FROM, LONG_PAUSE = 3, 60.0
#: When a copy comes again whose bytes cannot be read now.
DISK_SECONDS = 15.0


class Transfer:
    """Sends one copy, keeps its record up to date and writes progress to the waiting jobs' logs."""

    def __init__(self, ctx: Context, record: CopyRecord, lease: Lease, waiters: list[str]) -> None:
        self.ctx, self.record, self.lease, self.waiters = ctx, record, lease, waiters
        self._upstream = ctx.upstreams[record.copy.upstream]
        self._lock = asyncio.Lock()

    async def whole(self, blob: Blob) -> bool:
        """Sends the file in one request. Returns True."""
        copy = self.record.copy
        if copy.attempts:  # an earlier answer may have been lost
            known = await self._known()
            if known:
                return await self._ready(known)
        await self._commit(copy.model_copy(update={"attempts": copy.attempts + 1}), due=STEP_DUE)
        self.lease.check()
        return await self._ready(await self._upstream.upload(blob, copy.filename, self._progress))

    async def in_parts(self, blob: Blob) -> bool:
        """Sends the file in parts. Returns False when the time of a step is over and parts are missing."""
        until = time.monotonic() + STEP_SECONDS
        if self.record.copy.upload_id is None and not await self._begin():
            return await self.whole(blob)
        try:
            return await self._parts(blob, until)
        except UpstreamRefused as refused:
            return await self._begin_anew(refused)

    async def _begin(self) -> bool:
        """Returns False where an upstream takes no uploads in parts."""
        copy = self.record.copy
        try:
            upload_id = await self._upstream.begin_parts(copy.filename, copy.bytes)
        except UpstreamError as error:
            if error.status not in NO_UPLOADS:
                raise
            log.info("%s goes to %s in one request, since it takes no parts: %s", copy.file_id, copy.upstream, error)
            return False
        begun = {"upload_id": upload_id, "parts": [], "bytes_sent": 0}
        await self._commit(copy.model_copy(update=begun), due=STEP_DUE)
        return True

    async def _parts(self, blob: Blob, until: float) -> bool:
        part = await blob.piece(self.record.copy.bytes_sent, PART_BYTES)
        while (copy := self.record.copy).bytes_sent < copy.bytes:
            if time.monotonic() > until:
                return False
            if not part:
                raise FileNotFoundError(f"{blob.name} ends after {copy.bytes_sent} of {copy.bytes} bytes")
            self.lease.check()
            assert copy.upload_id
            sent = copy.bytes_sent + len(part)
            part_id, part = await asyncio.gather(
                self._upstream.add_part(copy.upload_id, part),
                blob.piece(sent, PART_BYTES),  # the next one, meanwhile
            )
            arrived = {"parts": [*copy.parts, part_id], "bytes_sent": sent, "failures": 0, "waiting": None}
            now = copy.model_copy(update=arrived)
            await self._commit(now, due=STEP_DUE, logged=True, wake=copy.waiting is not None)
        assert copy.upload_id
        self.lease.check()
        return await self._ready(await self._upstream.end_parts(copy.upload_id, copy.parts))

    async def _begin_anew(self, refused: UpstreamRefused) -> bool:
        """Begins the upload again, up to three times: uploads expire at the upstream after an hour."""
        copy = self.record.copy
        known = await self._known()
        if known:  # it was completed, and only the answer was lost
            return await self._ready(known)
        if copy.attempts >= 3:
            raise refused
        again: dict[str, Any] = {"upload_id": None, "parts": [], "bytes_sent": 0, "attempts": copy.attempts + 1}
        await self._commit(copy.model_copy(update=again), due=0.0)
        return False

    async def _known(self) -> str | None:
        """Returns the upstream's file of an earlier attempt whose answer was lost, or None.

        A file that retention is about to delete there does not count: it has the same name, and a live job would lose
        it. The list of those is read first, since a file is on it until it is deleted.
        """
        leaving = await self.ctx.store.deletion.leaving_at(self.record.copy.upstream)
        known = await self._upstream.find_file(self.record.copy.filename, self.record.copy.bytes)
        return None if known in leaving else known

    # ---- results

    async def from_another(self, file: FileRef, filename: str) -> None:
        """Takes the same bytes from another file of ours."""
        again = {"file_id": file.id, "filename": filename}
        await self._commit(self.record.copy.model_copy(update=again), due=0.0)

    async def failed(self, error: UpstreamError) -> None:
        """Plans the next attempt, later each time. When failures go on, the jobs show that they wait."""
        copy = self.record.copy
        shortest, longest = PAUSES
        # The exponent is bounded: 2**1024 is no float.
        pause = error.retry_after or min(longest, shortest * 2 ** min(copy.failures, 10))
        why = "rate_limit_exceeded" if isinstance(error, UpstreamBusy) else "upstream_no_answer"
        shown = copy.failures + 1 >= SHOWN_FROM or pause >= LONG_PAUSE
        await self._wait((error.code or why, error.message) if shown else None, pause, copy.failures + 1)

    async def blocked(self, error: DataDirUnavailable) -> None:
        """Waits for the data directory; the jobs show it."""
        log.warning("uploading %s to %s waits: %s", self.record.copy.file_id, self.record.copy.upstream, error.detail)
        await self._wait(("data_dir_unavailable", error.message), DISK_SECONDS, self.record.copy.failures)

    async def _wait(self, shown: tuple[str, str] | None, pause: float, failures: int) -> None:
        """Plans the next attempt in `pause` seconds; `shown`: the code and the reason that the jobs show."""
        copy, waiting = self.record.copy, None
        if shown is not None:
            now = await self._now()
            waiting = Waiting(
                code=shown[0],
                reason=shown[1],
                since=copy.waiting.since if copy.waiting else now,
                retry_at=now + int(pause),
                resume=Stage.UPLOADING,
            )
        async with self._lock:
            copy = self.record.copy.model_copy(update={"failures": failures, "waiting": waiting})
            await self._commit(copy, due=pause, wake=waiting is not None)

    async def refused(self, error: JobError) -> None:
        """Ends the copy with an error; the jobs that wait for it fail with it."""
        await self._end(self.record.copy.model_copy(update={"state": "refused", "error": error}))

    async def _ready(self, upstream_file_id: str) -> bool:
        done = {"state": "ready", "upstream_file_id": upstream_file_id, "bytes_sent": self.record.copy.bytes}
        await self._end(self.record.copy.model_copy(update=done), logged=True)
        return True

    async def _progress(self, sent: int) -> None:
        """Notes `sent` bytes; its task may be cancelled, but a commit that has begun is completed."""
        await asyncio.shield(self._note_progress(sent))

    async def _note_progress(self, sent: int) -> None:
        async with self._lock:
            if sent > self.record.copy.bytes_sent and self.record.copy.state == "wanted":
                change = self.record.copy.model_copy(update={"bytes_sent": sent})
                await self._commit(change, due=STEP_DUE, logged=True)

    async def _commit(self, copy: Copy, *, due: float, logged: bool = False, wake: bool = False) -> None:
        change = self._counted(self.record.change(copy, self.lease), copy).due(self.record.member, due)
        if logged:
            await self._log_progress(change, copy)
        for job_id in self.waiters if wake else []:
            change.wake(job_member(job_id))
        await self.ctx.store.commit(change)
        self.record = CopyRecord(copy, self.record.revision + 1)

    async def _end(self, copy: Copy, *, logged: bool = False) -> None:
        async with self._lock:
            copy = copy.model_copy(update={"waiting": None})
            change = self._counted(self.record.change(copy, self.lease), copy)
            self.waiters = await self.ctx.store.copies.waiters(copy.upstream, copy.sha256)
            self.ctx.store.copies.release_waiters(change, copy)
            if copy.upstream_file_id:  # an upstream may give the same bytes the same id again
                self.ctx.store.deletion.stays(change, copy.upstream, copy.upstream_file_id)
            if logged:
                await self._log_progress(change, copy)
            await self.ctx.store.commit(change)
            self.record = CopyRecord(copy, self.record.revision + 1)

    def _counted(self, change: Change, copy: Copy) -> Change:
        more = copy.bytes_sent - self.record.copy.bytes_sent
        return tally.count(change, tally.UPLOADED_BYTES, (copy.upstream,), more)

    async def _log_progress(self, change: Change, copy: Copy) -> None:
        before, sent = [each.bytes_sent * LOGGED_TIMES // max(1, copy.bytes) for each in (self.record.copy, copy)]
        if sent <= before:
            return
        now = await self._now()
        progress = {"bytes_sent": copy.bytes_sent, "bytes_total": copy.bytes}
        text = f"Uploaded {copy.bytes_sent} of {copy.bytes} bytes"
        for job_id in self.waiters:
            change.say(job_id, Message(created_at=now, message=text, data=progress))

    async def _now(self) -> int:
        return await self.ctx.store.now_ms() // 1000
