"""Files that come in parts: their records, and which parts are on the shelf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunehook.errors import UploadNotFound
from tunehook.model import Upload
from tunehook.store import keys
from tunehook.store.commit import Change
from tunehook.store.connection import unavailable

if TYPE_CHECKING:
    from tunehook.store.store import Store

#: Records of uploads are kept so long, whatever became of them: a repeated call finds the answer of the first.
RECORD_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class UploadRecord:
    upload: Upload
    revision: int

    def change(self, upload: Upload) -> Change:
        """A change of the record; whatever it becomes but pending, its parts are not counted any more."""
        change = Change(
            record=keys.upload(upload.id), revision=self.revision, document=upload.model_dump_json(exclude_none=True)
        )
        if upload.status != "pending":
            change.do("DEL", keys.upload_parts(upload.id))
        return change


class Uploads:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, upload: Upload) -> None:
        change = Change(record=keys.upload(upload.id), revision=0, document=upload.model_dump_json(exclude_none=True))
        change.do("EXPIRE", keys.upload(upload.id), RECORD_SECONDS)
        change.do("ZADD", keys.UPLOADS, upload.expires_at * 1000, upload.id)
        await self._store.commit(change)

    async def read(self, upload_id: str, project: str) -> UploadRecord:
        """Raises UploadNotFound, also for another project's."""
        with unavailable():
            fields = await self._store.redis.hgetall(keys.upload(upload_id))
        upload = Upload.model_validate_json(fields["doc"]) if fields.get("doc") else None
        if upload is None or upload.project != project:
            raise UploadNotFound(id=upload_id[:100], param="id")
        return UploadRecord(upload, int(fields["rev"]))

    async def add_part(self, upload: Upload, part_id: str, size: int) -> None:
        with unavailable():
            async with self._store.redis.pipeline(transaction=True) as pipe:
                pipe.hset(keys.upload_parts(upload.id), part_id, size)
                pipe.expire(keys.upload_parts(upload.id), RECORD_SECONDS)
                await pipe.execute()

    async def parts(self, upload_id: str) -> dict[str, int]:
        """Part id → bytes."""
        with unavailable():
            rows = await self._store.redis.hgetall(keys.upload_parts(upload_id))
        return {part_id: int(size) for part_id, size in rows.items()}

    async def expired(self, limit: int) -> list[str]:
        """Uploads whose time is over and whose parts may still be on the shelf."""
        now = await self._store.now_ms()
        with unavailable():
            return list(await self._store.redis.zrangebyscore(keys.UPLOADS, "-inf", now, start=0, num=limit))

    async def cleared(self, upload_id: str) -> None:
        """None of its parts is on the shelf any more."""
        with unavailable():
            async with self._store.redis.pipeline(transaction=True) as pipe:
                pipe.zrem(keys.UPLOADS, upload_id)
                pipe.delete(keys.upload_parts(upload_id))
                await pipe.execute()
