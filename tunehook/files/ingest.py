"""A dataset arrives: received, checked, recorded with its report. Nothing is refused for what is wrong in it.

keep           puts received bytes into the storage under a file id
  up to 16 MB  checked before the caller is answered: `processed` or `error`
  above        answered as `uploaded`; a step of the worker checks it, as OpenAI does        → check_stored
record         writes the record, or removes the bytes when the record is refused
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Any

from tunehook.dataset.build import Built
from tunehook.dataset.digests import Digests
from tunehook.dataset.report import Report
from tunehook.errors import Conflict, DatasetUnread, FileNotChecked
from tunehook.files import Files
from tunehook.files.storage import Incoming
from tunehook.model.file import BuiltFiles, Dataset, File
from tunehook.model.member import check_member, estimate_member, job_member
from tunehook.model.record import new_id
from tunehook.store.engine.lease import Lease

log = logging.getLogger(__name__)

#: Errors in one `status_details`; the report has them all.
NAMED = 3
#: Up to this size a file is checked before its upload is answered: 80 ms of the checking process when it is good.
CHECKED_AT_ONCE = 16 * 1024 * 1024
#: How often, and how long, a request that needs the result waits for the check of a larger file.
ASK_SECONDS, WAIT_SECONDS = 0.25, 60.0


@asynccontextmanager
async def receiving(files: Files) -> AsyncIterator[Incoming]:
    """Opens a place for bytes that arrive; what was not kept is removed at the end."""
    incoming = files.storage.receive()
    await incoming.open()
    try:
        yield incoming
    finally:
        await incoming.close()


async def keep(files: Files, incoming: Incoming, *, project: str, filename: str, seconds: int | None) -> File:
    """Puts received bytes into the storage, checked if they are few; writing the record is the caller's.

    `seconds`: after which the file expires. A caller whose record is refused removes the file from the storage.
    """
    file, now = new_id("file-"), int(time.time())
    kept = File(
        id=file,
        project=project,
        filename=filename,
        purpose="fine-tune",
        bytes=incoming.bytes,
        created_at=now,
        sha256=await incoming.hashed(),
        status="uploaded",
        expires_at=None if seconds is None else now + seconds,
    )
    if incoming.bytes > CHECKED_AT_ONCE:
        await incoming.keep(kept.id)
        return kept
    return (await _keep_checked(files, incoming, kept))[0]


async def _keep_checked(files: Files, incoming: Incoming, file: File) -> tuple[File, Report]:
    report = await check(files, await incoming.written(), file.project)
    await incoming.keep(file.id)
    try:
        await files.storage.reports.save(file.id, report)
    except BaseException:
        await files.storage.remove(file.id)
        raise
    return checked(file, report), report


async def check(files: Files, path: Path, project: str) -> Report:
    """Checks a file in the checking process. Ten examples are asked for where a job trains on it, not here: a file
    to validate with may have fewer. Raises DatasetUnread."""
    digests = path.with_name(f"{path.name}.digests")
    question = {"do": "check", "path": str(path), "digests": str(digests)}
    try:
        report = Report.from_dict(await files.checker.ask(question, project))
        report.digests = Digests.from_bytes(await asyncio.to_thread(digests.read_bytes))
    finally:
        await asyncio.to_thread(digests.unlink, missing_ok=True)
    return report


def checked(file: File, report: Report) -> File:
    """The record of a file whose check is over. Pure."""
    dataset = Dataset(
        format=report.format,
        also=report.also,
        examples=report.examples,
        errors=report.errors,
        warnings=report.warnings,
        image_examples=report.image_examples,
    )
    details = None if report.ok else report.summary(NAMED)
    status = "processed" if report.ok else "error"
    return file.model_copy(update={"status": status, "status_details": details, "dataset": dataset})


async def record(files: Files, file: File) -> None:
    """Writes the record of a kept file; one that is refused leaves nothing in the storage.

    When no answer comes (Redis is away, or its disk takes longer than our patience), the record may have been
    written all the same. So the bytes stay: without a record they go after a day (orphans.py).
    """
    try:
        await files.store.files.add(file)
    except Conflict:
        await files.storage.remove(file.id)
        raise


async def discard(files: Files, file: File) -> None:
    """Removes a file that was recorded a moment ago."""
    await files.store.files.delete(file.id, file.project)
    await files.storage.remove(file.id)
    await files.store.files.left(file.id)


# ---- larger files: checked by a step of the worker


async def check_stored(files: Files, file_id: str) -> None:
    """One step: checks a file that was answered as `uploaded`, and wakes the jobs that wait for the result."""
    member = check_member(file_id)
    async with files.store.lease(member) as lease:
        stored = await files.store.files.read_any(file_id)
        if stored is None or stored.file.status != "uploaded":
            await files.store.unplan(member)
            return
        try:
            report = await check(files, files.storage.path(file_id), stored.file.project)
        except DatasetUnread as error:  # a disk that is away, or a process that was killed: claimed again later
            log.warning("file %s is not checked yet: %s", file_id, error.message)
            return
        await files.storage.reports.save(file_id, report)
        await _finish_check(files, checked(stored.file, report), stored.revision, lease)


async def _finish_check(files: Files, file: File, revision: int, lease: Lease) -> None:
    change = files.store.files.change(file, revision, lease).due(check_member(file.id), None)
    for job_id in await files.store.files.users(file.id):
        change.wake(job_member(job_id)).wake(estimate_member(job_id))
    await files.store.commit(change)
    log.info("file %s is %s: %d examples", file.id, file.status, file.dataset.examples if file.dataset else 0)


async def when_checked(files: Files, file: File) -> File:
    """Returns the file once its check is over. Raises FileNotChecked when that takes longer than a minute."""
    until = asyncio.get_running_loop().time() + WAIT_SECONDS
    while file.status == "uploaded":
        if asyncio.get_running_loop().time() > until:
            raise FileNotChecked(id=file.id, param="training_file")
        await asyncio.sleep(ASK_SECONDS)
        file = await files.store.files.read(file.id, file.project)
    return file


# ---- datasets that were built here


async def keep_built(files: Files, built: Built, *, project: str, filename: str) -> BuiltFiles:
    """Writes both files, or none: one alone would be half of what was asked for."""
    training, report = await _keep_one(files, built.training, project, filename)
    if not built.validation:
        return BuiltFiles(training, None, report)
    name = PurePath(filename)
    try:
        validation, _ = await _keep_one(files, built.validation, project, f"{name.stem}.validation{name.suffix}")
    except BaseException:
        await discard(files, training)
        raise
    return BuiltFiles(training, validation, report)


async def _keep_one(files: Files, content: bytes, project: str, filename: str) -> tuple[File, dict[str, Any]]:
    async with receiving(files) as incoming:
        await incoming.write(content)
        file = File(
            id=new_id("file-"),
            project=project,
            filename=filename,
            purpose="fine-tune",
            bytes=incoming.bytes,
            created_at=int(time.time()),
            sha256=await incoming.hashed(),
            status="uploaded",
        )
        file, report = await _keep_checked(files, incoming, file)
        await record(files, file)
    return file, report.to_dict()
