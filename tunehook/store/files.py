"""File records, and the copies of their bytes at upstreams."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunehook.errors import FileInUse, FileNotFound, RecordUnreadable
from tunehook.model import Copy, Counted, File, FileRef
from tunehook.store import keys
from tunehook.store.commit import Change
from tunehook.store.connection import unavailable
from tunehook.store.lease import Lease

if TYPE_CHECKING:
    from tunehook.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CopyRecord:
    copy: Copy
    revision: int

    @property
    def member(self) -> str:
        return copy_member(self.copy.upstream, self.copy.sha256)

    def change(self, copy: Copy, lease: Lease) -> Change:
        return Change(
            record=keys.copy(copy.upstream, copy.sha256),
            revision=self.revision,
            document=copy.model_dump_json(exclude_none=True),
            member=lease.member,
            token=lease.token,
        )


def copy_id(upstream: str, sha256: str) -> str:
    return f"{upstream}:{sha256}"


def copy_member(upstream: str, sha256: str) -> str:
    return f"copy:{copy_id(upstream, sha256)}"


class Files:
    def __init__(self, store: Store) -> None:
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

    # ---- copies at upstreams

    async def copy(self, upstream: str, sha256: str) -> CopyRecord | None:
        with unavailable():
            fields = await self._store.redis.hgetall(keys.copy(upstream, sha256))
        if not fields.get("doc"):
            return None
        try:
            return CopyRecord(Copy.model_validate_json(fields["doc"]), int(fields["rev"]))
        except (KeyError, ValueError) as error:
            raise RecordUnreadable(record=copy_member(upstream, sha256), why=type(error).__name__) from error

    async def want_copy(self, upstream: str, ref: FileRef, filename: str, job_id: str) -> None:
        """Let these bytes be uploaded once; the job is woken when they are. Safe to ask again and again.

        An upload that was refused or has been lost is wanted anew.
        """
        wanted = Copy(upstream=upstream, sha256=ref.sha256, file_id=ref.id, filename=filename, bytes=ref.bytes)
        member = copy_member(upstream, ref.sha256)
        key = keys.copy(upstream, ref.sha256)
        with unavailable():
            async with self._store.redis.pipeline(transaction=True) as pipe:
                pipe.sadd(keys.copy_waiters(upstream, ref.sha256), job_id)
                pipe.sadd(keys.copy_users(upstream, ref.sha256), job_id)
                pipe.hsetnx(key, "doc", wanted.model_dump_json(exclude_none=True))
                pipe.hsetnx(key, "rev", 1)
                await pipe.execute()
        record = await self.copy(upstream, ref.sha256)
        if record is not None and record.copy.state == "refused":
            again = Change(record=key, revision=record.revision, document=wanted.model_dump_json(exclude_none=True))
            await self._store.commit(again.due(member, 0))
        elif record is not None and record.copy.state == "wanted":
            # Whoever asked first may have died before this line; an upload that waits for its time is left to wait.
            await self._store.plan_if_absent(member, 0)

    def lost(self, change: Change, upstream: str, ref: FileRef) -> Change:
        """The upstream does not know the file any more: the next that wants it uploads it anew."""
        return change.do("DEL", keys.copy(upstream, ref.sha256))

    async def waiters(self, upstream: str, sha256: str) -> list[str]:
        with unavailable():
            return sorted(await self._store.redis.smembers(keys.copy_waiters(upstream, sha256)))

    async def rest(self, upstream: str, sha256: str) -> None:
        """Nobody waits for the upload, so it is not due; unless somebody came at this moment."""
        waiters = keys.copy_waiters(upstream, sha256)
        await self._store.unplan(copy_member(upstream, sha256), unless_any_in=waiters)

    def release_waiters(self, change: Change, copy: Copy) -> Change:
        """The upload has ended, well or not: all that wait at this moment go on."""
        change.free(keys.copy_waiters(copy.upstream, copy.sha256), "job")
        return change.due(copy_member(copy.upstream, copy.sha256), None)


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
