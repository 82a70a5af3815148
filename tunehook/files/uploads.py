"""Uploads: files that come in parts, as in OpenAI's Uploads API; open for an hour.

Parts are stored under the upload's id. Joining reads them a piece at a time, so that memory does not grow with the
file. The file's record and the end of the upload are one commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence

from tunehook.errors import DataDirUnavailable, InvalidParameter, TooLarge, UploadIncomplete, UploadNotOpen
from tunehook.files import Files, ingest
from tunehook.files.storage import Incoming
from tunehook.model.file import File, Upload
from tunehook.model.member import upload_member
from tunehook.model.record import new_id
from tunehook.store.uploads import UploadRecord

log = logging.getLogger(__name__)

LARGEST = 8 * 1024**3
PART_BYTES = 64 * 1024**2
LIFETIME = 3600


async def begin(
    files: Files, project: str, *, filename: str, purpose: str, size: int, expires_after: int | None
) -> Upload:
    """Returns a new upload. Raises TooManyUploads, DataDirUnavailable."""
    await files.storage.check_room()
    now = int(time.time())
    upload = Upload(
        id=new_id("upload_"),
        project=project,
        filename=filename,
        purpose=purpose,
        bytes=size,
        created_at=now,
        expires_at=now + LIFETIME,
        expires_after=expires_after,
    )
    await files.store.uploads.add(upload)
    return upload


async def open_upload(files: Files, upload_id: str, project: str, what: str) -> UploadRecord:
    """Returns a pending upload. Raises UploadNotFound; UploadNotOpen, with `what` could not be done."""
    record = await files.store.uploads.read(upload_id, project)
    status = record.upload.shown_status(time.time())
    if status != "pending":
        raise UploadNotOpen(id=upload_id, status=status, what=what, param="upload_id")
    return record


def most_bytes(upload: Upload) -> int:
    """Returns the limit for all parts together: twice the file, as parts may be sent again, and a part."""
    return 2 * upload.bytes + PART_BYTES


async def room(files: Files, record: UploadRecord) -> int:
    """Returns the most bytes of the next part; `keep_part` checks again. Raises TooLarge, TooManyParts."""
    left = most_bytes(record.upload) - record.stored
    if left <= 0:
        raise TooLarge(limit=record.upload.bytes)
    await files.store.uploads.check_count(record.upload)
    return min(PART_BYTES, left)


async def keep_part(files: Files, upload: Upload, incoming: Incoming) -> str:
    """Keeps a part. Returns its id.

    Raises UploadNotOpen when the upload ended while the part came; TooManyParts or TooLarge when others came meanwhile.
    """
    part_id = incoming.id
    try:
        await incoming.keep()
    except FileNotFoundError:  # the upload was cleared meanwhile
        await open_upload(files, upload.id, upload.project, "added to")
        raise
    try:
        await open_upload(files, upload.id, upload.project, "added to")
        await files.store.uploads.add_part(upload, part_id, incoming.bytes, most_bytes(upload))
    except BaseException:
        await files.storage.parts(upload.id).remove(part_id)
        raise
    return part_id


async def complete(
    files: Files, upload_id: str, project: str, part_ids: Sequence[str], md5: str | None
) -> tuple[Upload, File]:
    """Joins the parts in the order given. A repeated call gets the answer of the first.

    Raises UploadIncomplete, UploadNotOpen, and LeaseTaken while another request completes it.
    """
    async with files.store.lease(upload_member(upload_id)):
        earlier = (await files.store.uploads.read(upload_id, project)).upload
        if earlier.status == "completed" and earlier.file_id and list(part_ids) == earlier.part_ids:
            return earlier, await files.store.files.read(earlier.file_id, project)
        record = await open_upload(files, upload_id, project, "completed")
        await _check(files, record.upload, part_ids)
        async with ingest.receiving(files.storage, record.upload.bytes) as incoming:
            return await _join(files, record, part_ids, md5, incoming)


async def _check(files: Files, upload: Upload, part_ids: Sequence[str]) -> None:
    stored = await files.store.uploads.parts(upload.id)
    if len(set(part_ids)) != len(part_ids):
        raise InvalidParameter(param="part_ids", why="a part is named twice")
    unknown = next((part_id for part_id in part_ids if part_id not in stored), None)
    if unknown is not None:
        raise InvalidParameter(param="part_ids", why=f"upload {upload.id} has no part {unknown[:80]!r}")
    size = sum(stored[part_id] for part_id in part_ids)
    if size != upload.bytes:
        why = f"The parts have {size} bytes together; the upload was announced with {upload.bytes}."
        raise UploadIncomplete(why=why, param="part_ids")


async def _join(
    files: Files, record: UploadRecord, part_ids: Sequence[str], md5: str | None, incoming: Incoming
) -> tuple[Upload, File]:
    upload, parts = record.upload, files.storage.parts(record.upload.id)
    digest = hashlib.md5(usedforsecurity=False)
    for part_id in part_ids:
        async for piece in (await parts.open(part_id)).chunks():
            if md5 is not None:
                await asyncio.to_thread(digest.update, piece)
            await incoming.write(piece)
    if md5 is not None and digest.hexdigest() != md5.lower():
        raise UploadIncomplete(why=f"The md5 of the parts is {digest.hexdigest()}, not {md5[:64]}.", param="md5")
    file = await ingest.keep(
        files, incoming, project=upload.project, filename=upload.filename, seconds=upload.expires_after
    )
    done = upload.model_copy(update={"status": "completed", "file_id": file.id, "part_ids": list(part_ids)})
    await files.store.commit(files.store.files.entry(record.change(done), file))
    await clear(files, upload.id)
    return done, file


async def cancel(files: Files, upload_id: str, project: str) -> Upload:
    """Cancels an upload; safe to repeat. Raises LeaseTaken while a request completes it."""
    record = await files.store.uploads.read(upload_id, project)
    if record.upload.status == "cancelled":
        return record.upload
    async with files.store.lease(upload_member(upload_id)):
        record = await open_upload(files, upload_id, project, "cancelled")
        gone = record.upload.model_copy(update={"status": "cancelled"})
        await files.store.commit(record.change(gone))
        await clear(files, upload_id)
    return gone


async def clear(files: Files, upload_id: str) -> None:
    """Removes the parts of an upload that has ended; retention does it if the disk refuses."""
    try:
        await files.storage.parts(upload_id).clear()
    except DataDirUnavailable as error:
        log.info("the parts of upload %s are removed later: %s", upload_id, error.detail)
    else:
        await files.store.uploads.cleared(upload_id)
