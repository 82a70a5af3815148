"""Deletion: finds records that are old enough, and deletes those that no live job needs."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum

from tunehook.errors import Conflict, FileInUse, FileNotFound
from tunehook.model.file import File
from tunehook.model.member import copy_id, dataset_member, ready_member
from tunehook.store.copies import Copies
from tunehook.store.deliveries import Deliveries
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change, Occupied
from tunehook.store.engine.connection import Reading
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.keys import FORGOTTEN
from tunehook.store.files import Files
from tunehook.store.jobs import NO_METADATA, JobRecord

#: The commands of `storage_mark`.
READING_MARK: Reading = (("GET", keys.STORAGE_MARK),)
#: Before a mark that no data directory bears yet.
NEW = "new:"


class Ageing(StrEnum):
    """The indexes by which retention finds what is old: members by the time they were needed last."""

    EXPIRING = keys.EXPIRING  # files with an `expires_at`, by that time
    DATASETS = keys.DATASETS
    COPIES = keys.COPIES
    JOBS = keys.SETTLED
    DEPLOYMENTS = keys.DEPLOYMENTS_OVER
    UPLOADS = keys.UPLOADS  # whose parts the storage may still have, by their expiry
    LEAVING = keys.LEAVING  # files whose bytes may go: deleted, or without a record for an hour


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
        await self._store.redis.zrem(index, member)

    # ---- files

    async def delete_file(self, file: File) -> bool:
        """Returns False while a live job needs the file. Otherwise its bytes are among `leaving`."""
        try:
            with suppress(FileNotFound):
                await self._files.delete(file.id, file.project)
        except FileInUse:
            return False
        return True

    async def without_record(self, file_ids: list[str]) -> list[str]:
        """Returns those of the ids that have no record."""
        found = await self._store.read(("EXISTS", keys.file(file_id)) for file_id in file_ids)
        return [file_id for file_id, there in zip(file_ids, found, strict=True) if not there]

    async def left_behind(self, file_ids: Iterable[str]) -> list[str]:
        """Returns those of the ids that have no record and that no sweep will remove either."""
        # In this order: a file that arrives is here before its bytes, and leaves in the commit of its record.
        leaving = set(await self._store.redis.zrange(keys.LEAVING, 0, -1))
        return await self.without_record([file_id for file_id in file_ids if file_id not in leaving])

    async def storage_mark(self) -> tuple[str, bool]:
        """Returns the mark of the data directory of this store, and whether no directory bears it yet."""
        [value] = await self._store.ask(*READING_MARK)
        if value is None:
            await self._store.redis.set(keys.STORAGE_MARK, f"{NEW}{secrets.token_hex(16)}", nx=True)
            [value] = await self._store.ask(*READING_MARK)
        return value.removeprefix(NEW), value.startswith(NEW)

    async def storage_marked(self, mark: str) -> None:
        """Notes that a directory bears the mark; from then on no other becomes this store's."""
        await self._store.redis.set(keys.STORAGE_MARK, mark)
        await self._store.confirm()

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
        rows = await self._store.redis.srandmember(keys.LEAVING_COPIES, limit)
        return [(upstream, file_id) for upstream, _, file_id in (row.partition(" ") for row in rows)]

    async def leaving_at(self, upstream: str) -> set[str]:
        """The file ids there of what still has to be deleted at one upstream."""
        rows = await self._store.redis.smembers(keys.LEAVING_COPIES)
        return {row.removeprefix(f"{upstream} ") for row in rows if row.startswith(f"{upstream} ")}

    def stays(self, change: Change, upstream: str, file_id: str) -> Change:
        """Adds that a file there is needed again, so it is not deleted."""
        return change.do("SREM", keys.LEAVING_COPIES, f"{upstream} {file_id}")

    async def left_copy(self, upstream: str, file_id: str) -> None:
        await self._store.redis.srem(keys.LEAVING_COPIES, f"{upstream} {file_id}")

    # ---- jobs

    async def is_busy(self, record: JobRecord) -> bool:
        """Returns whether a settled job still waits for results, late events or webhooks."""
        job_id = record.job.id
        for member in (record.member, ready_member(job_id), dataset_member(job_id)):
            if await self._store.is_planned(member):
                return True
        return await self._deliveries.any_pending(job_id)

    async def delete_job(self, record: JobRecord) -> bool:
        """Deletes the record, its log and its index entries. Returns False if it was changed meanwhile.

        The model that it made stays known, and its deliveries are kept as long as all others.
        """
        job = record.job
        change = record.deletion()
        change.do("DEL", keys.job_log(job.id), keys.job_log_seen(job.id), keys.job_deliveries(job.id))
        change.do("DEL", keys.job_metrics(job.id))
        change.do("ZREM", keys.jobs(job.project), job.id)
        for name, value in (job.spec.metadata or NO_METADATA).items():
            change.do("ZREM", keys.jobs_with(job.project, name, value), job.id)
        if job.upstream_job_id:
            # The project stays known: no other may import the job, and with it the model that it made.
            change.do("HSET", keys.known(job.upstream), job.upstream_job_id, f"{FORGOTTEN}{job.project}")
        wishes = await self._store.redis.smembers(keys.wishes(job.id))
        change.do("DEL", keys.wishes(job.id), *wishes)
        change.do("ZREM", keys.SETTLED, job.id)
        try:
            await self._store.commit(change)
        except Conflict:
            return False
        return True
