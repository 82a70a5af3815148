"""Uploads in parts: their records, and which parts the storage has."""

from __future__ import annotations

from tunehook.errors import TooLarge, TooManyParts, TooManyUploads, UploadNotFound
from tunehook.model.file import Upload
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change, Occupied
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.record import Stored

#: Records of uploads are kept so long, completed or not: a repeated call finds the answer of the first.
RECORD_SECONDS = 7 * 24 * 3600
#: OpenAI's SDKs send 64 MB a part: 8 GB are 128. Each costs Redis 100 bytes, and the disk a file.
MOST_PARTS = 10_000
MOST_OPEN = 20  #: uploads of a project


class UploadRecord(Stored[Upload]):
    model = Upload
    key = staticmethod(keys.upload)

    @property
    def upload(self) -> Upload:
        return self.value

    @property
    def stored(self) -> int:
        """Bytes of all its parts."""
        return int(self.fields.get("stored", 0))

    def change(self, value: Upload, lease: Lease | None = None) -> Change:
        """Returns a change of the record. An upload that is not pending any more has no parts and is not open."""
        change = super().change(value, lease)
        if value.status != "pending":
            change.do("DEL", keys.upload_parts(value.id))
            change.do("ZREM", keys.open_uploads(value.project), value.id)
        return change


class Uploads:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def add(self, upload: Upload) -> None:
        """Adds an upload. Raises TooManyUploads: the commit counts the project's open ones."""
        change, opened = UploadRecord.new(upload), keys.open_uploads(upload.project)
        change.room.append((opened, MOST_OPEN))
        change.do("EXPIRE", keys.upload(upload.id), RECORD_SECONDS)
        change.do("ZREMRANGEBYSCORE", opened, "-inf", (upload.created_at - RECORD_SECONDS) * 1000)
        for index in (keys.UPLOADS, opened):
            change.do("ZADD", index, upload.expires_at * 1000, upload.id)
        try:
            await self._store.commit(change.do("EXPIRE", opened, RECORD_SECONDS))
        except Occupied:
            raise TooManyUploads(most=MOST_OPEN) from None

    async def read(self, upload_id: str, project: str) -> UploadRecord:
        """Raises UploadNotFound, also for another project's upload; RecordTooNew and RecordUnreadable."""
        record = await UploadRecord.read(self._store, upload_id)
        if record is None or record.upload.project != project:
            raise UploadNotFound(id=upload_id[:100], param="id")
        return record

    async def open_bytes(self, project: str) -> int:
        """Returns the bytes that the project's open uploads are announced with."""
        ids = await self._store.redis.zrangebyscore(keys.open_uploads(project), await self._store.now_ms(), "+inf")
        return sum(record.upload.bytes for record in await UploadRecord.read_many(self._store, ids))

    async def add_part(self, upload: Upload, part_id: str, size: int, most_bytes: int) -> None:
        """Counts a part. Raises TooManyParts, UploadNotFound, or TooLarge above `most_bytes` in all."""
        names = [keys.upload(upload.id), keys.upload_parts(upload.id)]
        arguments = [part_id, size, MOST_PARTS, most_bytes, RECORD_SECONDS]
        match await self._store.run("upload_part", names, arguments):
            case "parts":
                raise TooManyParts(id=upload.id, most=MOST_PARTS)
            case "bytes":
                raise TooLarge(limit=upload.bytes)
            case "gone":
                raise UploadNotFound(id=upload.id)

    async def check_count(self, upload: Upload) -> None:
        """Raises TooManyParts when the upload has as many parts as it may have."""
        count = await self._store.redis.hlen(keys.upload_parts(upload.id))
        if int(count) >= MOST_PARTS:
            raise TooManyParts(id=upload.id, most=MOST_PARTS)

    async def parts(self, upload_id: str) -> dict[str, int]:
        """Returns the parts: id → bytes."""
        rows = await self._store.redis.hgetall(keys.upload_parts(upload_id))
        return {part_id: int(size) for part_id, size in rows.items()}

    async def cleared(self, upload_id: str) -> None:
        """Notes that the storage has none of its parts any more."""
        pipe = self._store.redis.pipeline()
        await pipe.zrem(keys.UPLOADS, upload_id).delete(keys.upload_parts(upload_id)).execute()
