"""File records, their lists, and the jobs that need them."""

from __future__ import annotations

from tunehook.errors import FileInUse, FileNotFound
from tunehook.model.file import Counted, File
from tunehook.model.member import check_member
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change, Occupied, optimistic_update
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.record import Stored
from tunehook.store.indexes import common

#: A record is written seconds after its bytes; after this, its process was killed in between.
RECORD_WITHIN_SECONDS = 3600
#: Records read at once for a list. A page has up to 10,000, and other requests have their turn in between.
READ_AT_ONCE = 100


class FileRecord(Stored[File]):
    model = File
    key = staticmethod(keys.file)

    @property
    def file(self) -> File:
        return self.value


class Files:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def add(self, file: File) -> None:
        """Writes the record of a new file.

        When no answer comes (Redis is away, or its disk is slow), it may have been written all the same: the bytes
        stay, and are swept an hour later if there is no record.
        """
        await self._store.commit(self.enter(FileRecord.new(file), file))

    def enter(self, change: Change, file: File) -> Change:
        """Adds a new file to its project's list and to retention's; an unchecked dataset is due."""
        change.list_in(keys.files(file.project), file.id).do("ZREM", keys.LEAVING, file.id)
        if file.expires_at is not None:
            change.do("ZADD", keys.EXPIRING, file.expires_at * 1000, file.id)
        elif file.purpose == "fine-tune":
            change.at(keys.DATASETS, file.id, 0)
        if file.purpose == "fine-tune" and file.status == "uploaded":
            change.due(check_member(file.id), 0)
        return change

    def entry(self, change: Change, file: File) -> Change:
        """Adds a file's record, new or replaced, to another change."""
        document = file.model_dump_json(exclude_none=True)
        change.do("HSET", keys.file(file.id), "rev", 1, "doc", document)
        return self.enter(change, file)

    async def fetched(self, project: str, what: str) -> tuple[str | None, File | None]:
        """Returns what is noted as fetched before, and that file if it still exists.

        `what`: `<upstream>:<file id there>`, or the SHA-256 of the bytes.
        """
        noted = await self._store.redis.get(keys.fetched(project, what))
        record = await self.read_any(noted) if noted else None
        return noted, record.file if record and record.file.project == project else None

    def note_fetched(self, change: Change, file: File, origin: str, before: str | None) -> Change:
        """Adds a fetched file's record. AlreadyThere if another process fetched the same bytes meanwhile.

        `origin`: `<upstream>:<file id there>`; `before`: what was noted for these bytes.
        """
        by_bytes = keys.fetched(file.project, file.sha256)
        change.guards.append((by_bytes, before or ""))
        self._note(change, file, by_bytes)
        return self.entry(self._note(change, file, keys.fetched(file.project, origin)), file)

    def use_fetched(self, change: Change, file: File, origin: str) -> Change:
        """Adds that a file that is here has these bytes too, and is needed anew. Missing if it is gone."""
        change.needs.append(keys.file(file.id))
        change.at(keys.DATASETS, file.id, 0)
        return self._note(change, file, keys.fetched(file.project, origin))

    @staticmethod
    def _note(change: Change, file: File, key: str) -> Change:
        """Adds a note that lives as long as the file's record."""
        return change.do("SET", key, file.id).do("SADD", keys.fetched_notes(file.id), key)

    def need(self, change: Change, file: File, job_id: str) -> Change:
        """Adds that a live job needs the file, so that it is not deleted."""
        return change.do("SADD", keys.file_users(file.id), job_id)

    async def replace(self, file: File) -> bool:
        """Writes a changed file. Returns False when it was deleted meanwhile."""
        record = await self.read_any(file.id)
        if record is not None:
            await self._store.commit(record.change(file))
        return record is not None

    async def note_count(self, file_id: str, kind: str, counted: Counted) -> None:
        """Adds a token count to a dataset's record, unless it was deleted meanwhile."""
        record = await self.read_any(file_id)
        if record is not None and record.file.dataset is not None:
            dataset = record.file.dataset
            dataset = dataset.model_copy(update={"counted": {**dataset.counted, kind: counted}})
            await self._store.commit(record.change(record.file.model_copy(update={"dataset": dataset})))

    async def users(self, file_id: str) -> list[str]:
        """Returns the ids of the live jobs that need the file."""
        return sorted(await self._store.redis.smembers(keys.file_users(file_id)))

    async def read_any(self, file_id: str) -> FileRecord | None:
        """Returns a file of any project, or None. Raises RecordTooNew, RecordUnreadable."""
        return await FileRecord.read(self._store, file_id)

    async def read(self, file_id: str, project: str) -> File:
        """Raises FileNotFound, also for another project's file, RecordTooNew and RecordUnreadable."""
        return (await self._read(file_id, project)).file

    async def _read(self, file_id: str, project: str) -> FileRecord:
        record = await self.read_any(file_id)
        if record is None or record.file.project != project:
            raise FileNotFound(id=file_id, param="id")
        return record

    async def page(
        self, project: str, *, after: str | None, limit: int, purpose: str | None, ascending: bool
    ) -> tuple[list[File], bool]:
        """Returns files in order of arrival, or newest first, and if there are more.

        Raises FileNotFound for a wrong `after`.
        """
        ids = common(self._store, [keys.files(project)], after=after, at_once=READ_AT_ONCE, ascending=ascending)
        found, more = await FileRecord.page(
            self._store, ids, limit=limit, wanted=lambda record: purpose in (None, record.file.purpose)
        )
        if after is not None:
            await self.read(after, project)  # after the search for its place, in which it may have been removed
        return [record.file for record in found], more

    async def total_bytes(self, project: str, before: str | None = None) -> int:
        """Returns the bytes of all files of the project, or of those that came before the file `before`."""
        total = 0
        async for ids in common(self._store, [keys.files(project)], after=before, at_once=READ_AT_ONCE):
            total += sum(record.file.bytes for record in await FileRecord.read_many(self._store, ids))
        return total

    @optimistic_update
    async def delete(self, file_id: str, project: str) -> None:
        """Deletes a record. Raises FileInUse while a live job needs the file: checked in the same commit.

        Its bytes are noted as leaving until `left` says that the storage has them no more.
        """
        record = await self._read(file_id, project)
        change = record.deletion(empty=[keys.file_users(file_id)])
        notes = await self._store.redis.smembers(keys.fetched_notes(file_id))
        change.do("DEL", keys.fetched_notes(file_id), *sorted(notes))
        for index in (keys.files(project), keys.EXPIRING, keys.DATASETS):
            change.do("ZREM", index, file_id)
        try:
            await self._store.commit(change.at(keys.LEAVING, file_id, 0))
        except Occupied as held:
            raise FileInUse(id=file_id, job=held.value) from None

    async def arriving(self, file_id: str) -> None:
        """Lets a file's bytes be swept if it has no record within an hour. Comes before the bytes."""
        at = await self._store.now_ms() + RECORD_WITHIN_SECONDS * 1000
        await self._store.redis.zadd(keys.LEAVING, {file_id: at})

    async def left(self, file_id: str) -> None:
        """Notes that the bytes of a file are gone from the storage too."""
        await self._store.redis.zrem(keys.LEAVING, file_id)
