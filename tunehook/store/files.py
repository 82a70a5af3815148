"""File records."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tunehook.errors import FileInUse, FileNotFound, RecordUnreadable
from tunehook.model.file import Counted, File
from tunehook.model.member import check_member
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import unavailable
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileRecord:
    file: File
    revision: int


class Files:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def add(self, file: File) -> None:
        change = Change(record=keys.file(file.id), revision=0, document=file.model_dump_json(exclude_none=True))
        self.enter(change, file)
        await self._store.commit(change)

    def enter(self, change: Change, file: File) -> Change:
        """What a new file is known by besides its record: its project's list, and when it will be removed."""
        change.list_in(keys.files(file.project), file.id)
        if file.expires_at is not None:
            change.do("ZADD", keys.EXPIRING, file.expires_at * 1000, file.id)
        elif file.purpose == "fine-tune":
            change.at(keys.DATASETS, file.id, 0)
        if file.purpose == "fine-tune" and file.status == "uploaded":
            change.due(check_member(file.id), 0)
        return change

    def entry(self, change: Change, file: File) -> Change:
        """Adds or replaces a file's record in the same breath as another change."""
        document = file.model_dump_json(exclude_none=True)
        change.do("HSET", keys.file(file.id), "rev", 1, "doc", document)
        return self.enter(change, file)

    async def replace(self, file: File) -> None:
        """Writes what has changed of a file, unless it was deleted meanwhile."""
        key = keys.file(file.id)
        with unavailable():
            revision = await self._store.redis.hget(key, "rev")
        if revision is not None:
            document = file.model_dump_json(exclude_none=True)
            await self._store.commit(Change(record=key, revision=int(revision), document=document))

    async def note_count(self, file_id: str, kind: str, counted: Counted) -> None:
        """Keeps a count of a dataset's tokens with its record, unless it was deleted meanwhile."""
        key = keys.file(file_id)
        with unavailable():
            revision, document = await self._store.redis.hmget(key, "rev", "doc")
        file = parse(document, file_id)
        if file is not None and file.dataset is not None:
            dataset = file.dataset.model_copy(update={"counted": {**file.dataset.counted, kind: counted}})
            file = file.model_copy(update={"dataset": dataset})
            document = file.model_dump_json(exclude_none=True)
            await self._store.commit(Change(record=key, revision=int(revision), document=document))

    def change(self, file: File, revision: int, lease: Lease) -> Change:
        """A change of the record that was read at `revision` into `file`."""
        return Change(
            record=keys.file(file.id),
            revision=revision,
            document=file.model_dump_json(exclude_none=True),
            member=lease.member,
            token=lease.token,
        )

    async def users(self, file_id: str) -> list[str]:
        """Ids of the unsettled jobs that need the file."""
        with unavailable():
            return sorted(await self._store.redis.smembers(keys.file_users(file_id)))

    async def read_any(self, file_id: str) -> FileRecord | None:
        """Of any project; None for what does not exist. Raises RecordUnreadable."""
        with unavailable():
            revision, document = await self._store.redis.hmget(keys.file(file_id), "rev", "doc")
        file = parse(document, file_id)
        return FileRecord(file, int(revision)) if file is not None else None

    async def read(self, file_id: str, project: str) -> File:
        """Raises FileNotFound, also for another project's, and RecordUnreadable."""
        [document] = await self._store.ask(("HGET", keys.file(file_id), "doc"))
        file = parse(document, file_id)
        if file is None or file.project != project:
            raise FileNotFound(id=file_id, param="id")
        return file

    async def page(
        self, project: str, *, after: str | None, limit: int, purpose: str | None, ascending: bool
    ) -> tuple[list[File], bool]:
        """In order of arrival, or newest first, and whether there are more."""
        index = keys.files(project)
        redis = self._store.redis
        start = 0
        if after is not None:
            await self.read(after, project)
            with unavailable():
                rank = await (redis.zrank if ascending else redis.zrevrank)(index, after)
            start = int(rank) + 1 if rank is not None else 0
        found: list[File] = []
        while True:
            with unavailable():
                ids = await redis.zrange(index, start, start + 500, desc=not ascending)
                async with redis.pipeline(transaction=False) as pipe:
                    for file_id in ids:
                        pipe.hget(keys.file(file_id), "doc")
                    documents = await pipe.execute() if ids else []
            files = [_readable(document, file_id) for file_id, document in zip(ids, documents, strict=True)]
            found += [file for file in files if file is not None and purpose in (None, file.purpose)]
            start += len(ids)
            if len(found) > limit or len(ids) <= 500:
                return found[:limit], len(found) > limit

    async def delete(self, file_id: str, project: str) -> None:
        """Raises FileInUse while a live job needs it: asked in the same script that removes the record.

        Its bytes are noted as leaving; whoever has removed them from the shelf says so with `left`.
        """
        file = await self.read(file_id, project)
        record, users, listed = keys.file(file.id), keys.file_users(file.id), keys.files(project)
        at = [record, users, listed, keys.EXPIRING, keys.DATASETS, keys.LEAVING]
        held_by = await self._store.run("forget_file", at, [file.id])
        if held_by:
            raise FileInUse(id=file_id, job=", ".join(sorted(held_by)[:3]))

    async def left(self, file_id: str) -> None:
        """Its bytes are gone from the shelf too."""
        with unavailable():
            await self._store.redis.srem(keys.LEAVING, file_id)


def parse(document: str | None, file_id: str) -> File | None:
    """None for what does not exist. Raises RecordUnreadable."""
    try:
        return File.model_validate_json(document) if document else None
    except ValueError as error:
        raise RecordUnreadable(record=file_id, why=type(error).__name__) from error


def _readable(document: str | None, file_id: str) -> File | None:
    try:
        return parse(document, file_id)
    except RecordUnreadable as error:  # one bad record hides no others
        log.warning("left out: %s", error.message)
        return None
