"""Copies of datasets at upstreams: the same bytes are uploaded once per upstream."""

from __future__ import annotations

import time

from tunehook.model.file import Copy
from tunehook.model.job import FileRef
from tunehook.model.member import copy_id, copy_member
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.record import Stored


class CopyRecord(Stored[Copy]):
    model = Copy
    key = staticmethod(keys.copy)
    names = ("upstream", "sha256")

    @property
    def copy(self) -> Copy:
        return self.value

    @property
    def member(self) -> str:
        return copy_member(self.copy.upstream, self.copy.sha256)


class Copies:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def read(self, upstream: str, sha256: str) -> CopyRecord | None:
        """Returns None for a copy that nothing wants. Raises RecordTooNew, RecordUnreadable."""
        return await CopyRecord.read(self._store, upstream, sha256)

    async def want(self, upstream: str, ref: FileRef, filename: str, job_id: str) -> None:
        """Wants these bytes to be uploaded; the job is woken when they are. Repeating it is safe.

        A copy that was refused or lost is uploaded anew.
        """
        wanted = Copy(upstream=upstream, sha256=ref.sha256, file_id=ref.id, filename=filename, bytes=ref.bytes)
        member = copy_member(upstream, ref.sha256)
        key = keys.copy(upstream, ref.sha256)
        async with self._store.redis.pipeline(transaction=True) as pipe:
            pipe.sadd(keys.copy_waiters(upstream, ref.sha256), job_id)
            pipe.sadd(keys.copy_users(upstream, ref.sha256), job_id)
            pipe.hsetnx(key, "doc", wanted.model_dump_json(exclude_none=True))
            pipe.hsetnx(key, "rev", 1)
            pipe.zadd(keys.COPIES, {copy_id(upstream, ref.sha256): time.time() * 1000}, nx=True)
            await pipe.execute()
        record = await self.read(upstream, ref.sha256)
        if record is not None and record.copy.state == "refused":
            await self._store.commit(record.change(wanted).due(member, 0))
        elif record is not None and record.copy.state == "wanted":
            # The process that wanted it first may have died before this line. An upload that waits is left to wait.
            await self._store.wake_if_absent(member)

    async def file_of(self, upstream: str, upstream_file_id: str) -> str | None:
        """Returns our file whose copy that file of the upstream is; None for a file that is no copy of ours."""
        prefix = copy_id(upstream, "")
        names = await self._store.redis.zrange(keys.COPIES, 0, -1)
        there = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        documents = await self._store.read(("HGET", keys.copy(upstream, sha256), "doc") for sha256 in there)
        copies = (Copy.model_validate_json(document) for document in documents if document)
        return next((copy.file_id for copy in copies if copy.upstream_file_id == upstream_file_id), None)

    def lost(self, change: Change, upstream: str, ref: FileRef) -> Change:
        """Adds that the upstream has lost the file: the next job that wants it uploads it anew."""
        return change.do("DEL", keys.copy(upstream, ref.sha256))

    async def waiters(self, upstream: str, sha256: str) -> list[str]:
        """Returns the ids of the jobs that wait for the upload."""
        return sorted(await self._store.redis.smembers(keys.copy_waiters(upstream, sha256)))

    async def rest(self, upstream: str, sha256: str) -> None:
        """Takes an upload that no job waits for off the plan, unless a job began to wait at this moment."""
        waiters = keys.copy_waiters(upstream, sha256)
        await self._store.unplan(copy_member(upstream, sha256), unless_any_in=waiters)

    def release_waiters(self, change: Change, copy: Copy) -> Change:
        """Adds the end of an upload, successful or not: the jobs that wait at the commit go on."""
        change.free(keys.copy_waiters(copy.upstream, copy.sha256))
        return change.due(copy_member(copy.upstream, copy.sha256), None)
