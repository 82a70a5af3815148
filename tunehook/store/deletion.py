"""Deletion: finds records that are old enough, and deletes those that no live job needs."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import islice

from tunehook.errors import Conflict, FileInUse, FileNotFound
from tunehook.model.file import File
from tunehook.model.member import copy_id, ready_member
from tunehook.store.copies import Copies
from tunehook.store.deliveries import Deliveries
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change, Occupied
from tunehook.store.engine.connection import unavailable
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.keys import FORGOTTEN
from tunehook.store.files import Files
from tunehook.store.jobs import NO_METADATA, JobRecord


class Ageing(StrEnum):
    """The indexes by which retention finds what is old: members by the time they were needed last."""

    EXPIRING = keys.EXPIRING  # files with an `expires_at`, by that time
    DATASETS = keys.DATASETS
    COPIES = keys.COPIES
    JOBS = keys.SETTLED


def _in_thousands(names: Iterable[str]) -> Iterator[list[str]]:
    left = iter(names)
    while some := list(islice(left, 1000)):
        yield some


class Deletion:
    def __init__(self, store: DueQueue, files: Files, copies: Copies, deliveries: Deliveries) -> None:
        self._store, self._files, self._copies, self._deliveries = store, files, copies, deliveries

    async def older(self, index: Ageing, seconds: float, limit: int) -> list[str]:
        """Returns members of an index that are so many seconds old, the oldest first."""
        before = await self._store.now_ms() - int(seconds * 1000)
        return list(await self._store.redis.zrangebyscore(index, "-inf", before, start=0, num=limit))

    async def postpone(self, index: Ageing, member: str, seconds: float) -> None:
        """Moves a member that is still needed to `seconds` from now."""
        at = await self._store.now_ms() + int(seconds * 1000)
        await self._store.redis.zadd(index, {member: at}, xx=True)

    async def drop(self, index: Ageing, member: str) -> None:
        """Removes a member from an index."""
        await self._store.redis.zrem(index, member)

    # ---- files

    async def file(self, file_id: str) -> File | None:
        """Returns None for a file that does not exist. Raises RecordTooNew, RecordUnreadable."""
        record = await self._files.read_any(file_id)
        return record.file if record else None

    async def delete_file(self, file: File) -> bool:
        """Returns False while a live job needs the file. Otherwise its bytes are among `leaving`."""
        try:
            with suppress(FileNotFound):
                await self._files.delete(file.id, file.project)
        except FileInUse:
            return False
        return True

    async def leaving(self, limit: int) -> list[str]:
        """Files whose records are gone and whose bytes may still be on the shelf."""
        with unavailable():
            return list(await self._store.redis.srandmember(keys.LEAVING, limit))

    async def shelf_mark(self) -> str:
        """What the data directory that belongs to this store is marked with: made at the first call ever."""
        with unavailable():
            await self._store.redis.set(keys.SHELF, secrets.token_hex(16), nx=True)
            return str(await self._store.redis.get(keys.SHELF))

    async def unknown_files(self, file_ids: list[str]) -> set[str]:
        """Those that have no record."""
        found: set[str] = set()
        for some in _in_thousands(file_ids):
            with unavailable():
                async with self._store.redis.pipeline(transaction=False) as pipe:
                    for file_id in some:
                        pipe.exists(keys.file(file_id))
                    found.update(name for name, there in zip(some, await pipe.execute(), strict=True) if not there)
        return found

    async def unknown_uploads(self, upload_ids: list[str]) -> set[str]:
        """Those whose parts nobody will join, nor clear away when their hour is over."""
        if not upload_ids:
            return set()
        with unavailable():
            scores = await self._store.redis.zmscore(keys.UPLOADS, upload_ids)
        return {name for name, score in zip(upload_ids, scores, strict=True) if score is None}

    async def note_unknown(self, names: set[str], seconds: float) -> tuple[set[str], set[str]]:
        """Notes what is unknown, and since when; what is not among `names` is noted no more.

        Returns those that were not noted before, and those that have been for so many seconds.
        """
        now = await self._store.now_ms()
        with unavailable():
            since = dict(await self._store.redis.zrange(keys.UNKNOWN, 0, -1, withscores=True))
        new, over = names - set(since), set(since) - names
        with unavailable():
            for some in _in_thousands(new):
                await self._store.redis.zadd(keys.UNKNOWN, dict.fromkeys(some, now), nx=True)
            for some in _in_thousands(over):
                await self._store.redis.zrem(keys.UNKNOWN, *some)
        return new, {name for name in names if since.get(name, now) <= now - seconds * 1000}

    # ---- copies at upstreams

    async def delete_copy(self, upstream: str, sha256: str) -> bool:
        """Returns False while a live job needs it. Otherwise its file is among `leaving_copies`."""
        record = await self._copies.read(upstream, sha256)
        name = copy_id(upstream, sha256)
        if record is None:
            await self.drop(Ageing.COPIES, name)
            return True
        change = record.deletion(empty=[keys.copy_users(upstream, sha256)]).do("ZREM", keys.COPIES, name)
        if record.copy.upstream_file_id:
            change.do("SADD", keys.LEAVING_COPIES, f"{upstream} {record.copy.upstream_file_id}")
        try:
            await self._store.commit(change)
        except (Occupied, Conflict):
            return False
        return True

    async def leaving_copies(self, limit: int) -> list[tuple[str, str]]:
        """(upstream, file id there) of what still has to be deleted there."""
        with unavailable():
            rows = await self._store.redis.srandmember(keys.LEAVING_COPIES, limit)
        return [(upstream, file_id) for upstream, _, file_id in (row.partition(" ") for row in rows)]

    async def leaving_at(self, upstream: str) -> set[str]:
        """The file ids there of what still has to be deleted at one upstream."""
        with unavailable():
            rows = await self._store.redis.smembers(keys.LEAVING_COPIES)
        return {row.removeprefix(f"{upstream} ") for row in rows if row.startswith(f"{upstream} ")}

    def stays(self, change: Change, upstream: str, file_id: str) -> Change:
        """Adds that a file there is needed again, so it is not deleted."""
        return change.do("SREM", keys.LEAVING_COPIES, f"{upstream} {file_id}")

    async def left_copy(self, upstream: str, file_id: str) -> None:
        with unavailable():
            await self._store.redis.srem(keys.LEAVING_COPIES, f"{upstream} {file_id}")

    # ---- jobs

    async def is_busy(self, record: JobRecord) -> bool:
        """Returns whether a settled job still waits for results, late events or webhooks."""
        job_id = record.job.id
        if await self._store.is_planned(record.member) or await self._store.is_planned(ready_member(job_id)):
            return True
        return any(delivery.state == "pending" for delivery in await self._deliveries.of_job(job_id))

    async def delete_job(self, record: JobRecord) -> bool:
        """Deletes the record, its log and its index entries. Returns False if it was changed meanwhile.

        The model that it made stays known, and its deliveries are kept as long as all others.
        """
        job = record.job
        change = record.deletion()
        change.do("DEL", keys.job_log(job.id), keys.job_log_seen(job.id), keys.job_deliveries(job.id))
        change.do("ZREM", keys.jobs(job.project), job.id)
        for name, value in (job.spec.metadata or NO_METADATA).items():
            change.do("ZREM", keys.jobs_with(job.project, name, value), job.id)
        if job.upstream_job_id:
            # The project stays known: no other may import the job, and with it the model that it made.
            change.do("HSET", keys.known(job.upstream), job.upstream_job_id, f"{FORGOTTEN}{job.project}")
        change.do("ZREM", keys.SETTLED, job.id)
        try:
            await self._store.commit(change)
        except Conflict:
            return False
        return True
