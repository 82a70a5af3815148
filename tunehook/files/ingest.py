"""Ingest: receives a dataset, checks it and records it with its report. No finding refuses a file.

keep           puts received bytes into the storage under a file id
  up to 16 MB  checked before the caller is answered: `processed` or `error`
  above        answered as `uploaded`, as OpenAI does; a step of the worker checks it        → check_stored
the record     comes next (`Files.add` of store/files.py); bytes without one are swept an hour later
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import PurePath
from typing import Any

from tunehook.dataset.build import Built
from tunehook.dataset.digests import Digests
from tunehook.dataset.report import Report
from tunehook.errors import DataDirUnavailable, FileNotChecked, FileUnusable
from tunehook.files import Files
from tunehook.files.storage import Blob, Incoming, Storage
from tunehook.model.file import BuiltFiles, Dataset, File
from tunehook.model.member import check_member, estimate_member, job_member
from tunehook.model.record import new_id
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step
from tunehook.store.files import FileRecord

log = logging.getLogger(__name__)

#: Findings on a whole file, and on each of its lines, that is no JSONL.
_NOT_JSONL = frozenset({"empty_file", "not_jsonl", "wrong_encoding"})
_NOT_JSON = ("invalid_json", "invalid_utf8", "nul_byte")
#: How many errors `status_details` names; the report has all.
NAMED = 3
#: `status_details` of a file whose bytes were lost before its check.
GONE = "Its content is no longer kept here; upload it again."
#: How often a request that needs the result asks for the check of a larger file.
ASK_SECONDS = 0.25


@asynccontextmanager
async def receiving(storage: Storage, size: int = 0, *, prefix: str = "file-") -> AsyncIterator[Incoming]:
    """Opens a file for bytes that arrive, with a new id. It is removed at the end unless it was kept.

    `size`: as many bytes as are announced. Raises DataDirUnavailable if they do not fit.
    """
    incoming = storage.receive(new_id(prefix))
    await incoming.open(size)
    try:
        yield incoming
    finally:
        await incoming.close()


async def keep(files: Files, incoming: Incoming, *, project: str, filename: str, seconds: int | None) -> File:
    """Puts received bytes into the storage, checked up to 16 MB. The caller writes the record.

    `seconds`: after which the file expires.
    """
    kept = await _new_file(incoming, project, filename, seconds)
    if incoming.bytes > files.checked_at_once:
        await files.store.files.arriving(kept.id)
        await incoming.keep()
        return kept
    return (await _keep_checked(files, incoming, kept))[0]


async def keep_fetched(files: Files, incoming: Incoming, *, project: str, filename: str) -> File:
    """Puts a file that an upstream gave into the storage, checked. The caller writes the record.

    Raises FileUnusable for bytes that are no JSONL at all: what came is not the dataset.
    """
    file, report = await _keep_checked(files, incoming, await _new_file(incoming, project, filename))
    unread = sum(report.counts.get(code, 0) for code in _NOT_JSON)
    if report.examples == 0 or not _NOT_JSONL.isdisjoint(report.counts) or unread >= report.examples:
        why = report.summary(1) or "it has no examples."
        await files.storage.remove(file.id)
        raise FileUnusable(f"What the upstream gave is not JSONL: {why}", id=filename)
    return file


async def _new_file(incoming: Incoming, project: str, filename: str, seconds: int | None = None) -> File:
    now = int(time.time())
    return File(
        id=incoming.id,
        project=project,
        filename=filename,
        purpose="fine-tune",
        bytes=incoming.bytes,
        created_at=now,
        sha256=await incoming.hashed(),
        status="uploaded",
        expires_at=None if seconds is None else now + seconds,
    )


async def _keep_checked(files: Files, incoming: Incoming, file: File) -> tuple[File, Report]:
    await files.store.files.arriving(file.id)  # swept if no record comes
    await incoming.keep()
    try:
        report = await check(files, file)
    except BaseException:
        with suppress(DataDirUnavailable):
            await files.storage.remove(file.id)
        raise
    return checked(file, report), report


async def check(files: Files, file: File) -> Report:
    """Checks a file in the checking process, and keeps the report. Raises DatasetUnread, DataDirUnavailable.

    The minimum of ten examples is checked when a job trains on the file: a validation file may have fewer.
    """
    blob = Blob(files.storage, files.storage.name(file.id), file.bytes)
    found, digests = await files.checker.ask({"do": "check"}, blob.chunks(), file.project)
    report = Report.from_dict(found)
    report.digests = Digests.from_bytes(digests)
    await files.storage.reports.save(file.id, report)
    return report


def checked(file: File, report: Report) -> File:
    """Returns the record of a file with the result of its check. Pure."""
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


async def discard(files: Files, file: File) -> None:
    """Removes a file that was recorded a moment ago."""
    await files.store.files.delete(file.id, file.project)
    await files.storage.remove(file.id)
    await files.store.files.left(file.id)


# ---- larger files: checked by a step of the worker


async def check_stored(files: Files, file_id: str) -> None:
    """Runs one step: checks a file above 16 MB, and wakes the jobs that wait for the result."""

    async def _check(lease: Lease) -> None:
        stored = await files.store.files.read_any(file_id)
        if stored is None:  # deleted, perhaps during an earlier check, whose report has to go too
            await files.store.confirm()
            await files.storage.remove(file_id)
        if stored is None or stored.file.status != "uploaded":
            await files.store.unplan(lease.member)
            return
        await _finish_check(files, stored, await _check_kept(files, stored.file), lease)

    await run_step(files.store, check_member(file_id), _check)


async def _check_kept(files: Files, file: File) -> File:
    """Returns the checked record, an error if bytes are gone. Raises DatasetUnread, DataDirUnavailable."""
    if not await files.storage.exists(file.id):
        return file.model_copy(update={"status": "error", "status_details": GONE})
    return checked(file, await check(files, file))


async def _finish_check(files: Files, stored: FileRecord, file: File, lease: Lease) -> None:
    change = stored.change(file, lease).due(check_member(file.id), None)
    for job_id in await files.store.files.users(file.id):
        change.wake(job_member(job_id)).wake(estimate_member(job_id))
    await files.store.commit(change)
    log.info("file %s is %s: %d examples", file.id, file.status, file.dataset.examples if file.dataset else 0)


async def when_checked(files: Files, file: File, param: str) -> File:
    """Returns the file once its check is over. Raises FileNotChecked for `param` after a minute."""
    until = asyncio.get_running_loop().time() + files.wait_seconds
    while file.status == "uploaded":
        if asyncio.get_running_loop().time() > until:
            raise FileNotChecked(id=file.id, param=param)
        await asyncio.sleep(ASK_SECONDS)
        file = await files.store.files.read(file.id, file.project)
    return file


# ---- datasets that were built here


async def keep_built(files: Files, built: Built, *, project: str, filename: str) -> BuiltFiles:
    """Writes the training and the validation file, or neither."""
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
    async with receiving(files.storage, len(content)) as incoming:
        await incoming.write(content)
        file = await _new_file(incoming, project, filename)
        file, report = await _keep_checked(files, incoming, file)
        await files.store.files.add(file)
    return file, report.to_dict()
