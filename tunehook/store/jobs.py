"""Job records: submission, reading, lists, repeated calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from math import inf

from tunehook.errors import JobNotFound, JobsNotIndexed, LeaseTaken
from tunehook.model.job import Cost, Job
from tunehook.model.member import copy_id, job_member, queue_of, rows_member
from tunehook.store import job_index
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import Reading
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.record import Stored
from tunehook.store.indexes import common
from tunehook.store.job_index import JobFilter

IDEMPOTENCY_SECONDS = 24 * 3600
#: Records that are read, and those of an earlier version that are indexed, in a round trip: 20 ms of the event loop.
READ_AT_ONCE = 100
#: A request waits for so long at most until the rows of earlier jobs are made, and reads records for as long without.
INDEXING_SECONDS = 1.0
#: The index entry of jobs without metadata, which `metadata=null` asks for. No real key is empty.
NO_METADATA = {"": ""}


class JobRecord(Stored[Job]):
    model = Job
    key = staticmethod(keys.job)

    @classmethod
    def _load(cls, document: str, fields: Mapping[str, str]) -> Job:
        job = super()._load(document, fields)
        int(fields.get("intent", 0)), int(fields.get("cancel", 0))
        if job.estimate is None and "estimate" in fields:
            job = job.model_copy(update={"estimate": Cost.model_validate_json(fields["estimate"])})
        return job

    @property
    def job(self) -> Job:
        return self.value

    @property
    def intent_ms(self) -> int | None:
        """When a create was begun whose outcome is not recorded, by Redis' clock."""
        return int(self.fields["intent"]) if self.fields.get("intent") else None

    @property
    def cancel_requested_at(self) -> int | None:
        """When a client asked to cancel it, unix seconds."""
        return int(self.fields["cancel"]) if self.fields.get("cancel") else None

    @property
    def member(self) -> str:
        return job_member(self.job.id)

    def change(self, value: Job, lease: Lease | None = None) -> Change:
        return self._indexed(value, lease).tell(value.project, "job", value.id)

    def _indexed(self, value: Job, lease: Lease | None = None) -> Change:
        change = super().change(value, lease)
        change.stage = value.stage
        change.index = job_index.of(value)
        return change

    def deletion(self, *, empty: Iterable[str] = ()) -> Change:
        change = super().deletion(empty=empty)
        change.index = job_index.gone(self.value)
        return change.tell(self.value.project, "job", self.value.id)

    def indexing(self) -> Change:
        """Returns the change that makes the job's rows in the index and leaves the record as it is."""
        change = self._indexed(self.value)
        change.keep = True
        return change

    def telling(self) -> Change:
        """Returns the change that tells the project's stream of the job and leaves the record as it is."""
        return self.indexing().tell(self.job.project, "job", self.job.id)


class Jobs:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    # ---- one job

    def submission(self, job: Job) -> Change:
        """Returns the change that accepts a job: its record and index entries, due now, its files in use."""
        change = JobRecord.new(job)
        change.list_in(keys.jobs(job.project), job.id)
        for name, value in (job.spec.metadata or NO_METADATA).items():
            change.list_in(keys.jobs_with(job.project, name, value), job.id)
        for file in job.files:
            change.needs.append(keys.file(file.id))
            change.do("SADD", keys.file_users(file.id), job.id)
        if job.retrained_from is not None:
            wish = keys.wish(job.retrained_from, job.request_sha256)
            change.needs.append(keys.job(job.retrained_from))
            change.do("SET", wish, job.id).do("SADD", keys.wishes(job.retrained_from), wish)
        change.do("SADD", keys.PROJECTS, job.project)
        return change.due(job_member(job.id), 0)

    async def read(self, job_id: str, project: str | None = None) -> JobRecord:
        """Raises JobNotFound, also for another project's job, RecordTooNew and RecordUnreadable."""
        record = await JobRecord.read(self._store, job_id)
        if record is None or (project is not None and record.job.project != project):
            raise JobNotFound(id=job_id)
        return record

    async def read_many(self, job_ids: Iterable[str]) -> list[JobRecord]:
        """Returns the jobs that exist and can be read, in the order given."""
        return await JobRecord.read_many(self._store, job_ids)

    async def unsettled(self, project: str) -> list[str]:
        """Returns the ids of the project's jobs that have not ended."""
        return [str(job_id) for job_id in await self._store.redis.zdiff([keys.jobs(project), keys.SETTLED])]

    # ---- repeated calls: the keys of the jobs that earlier ones made

    by_body = staticmethod(keys.repeat)  # by API key and body, for SDKs that retry without an idempotency key
    by_retry = staticmethod(keys.retried)  # by an SDK's retry of this body: its first call may still run
    by_idempotency_key = staticmethod(keys.idempotency)
    by_wish = staticmethod(keys.wish)  # trains a job's data again; stays as long as that job

    @staticmethod
    def remembering(key: str) -> Reading:
        """Returns the commands of `remembered`."""
        return (("GET", key),)

    async def remembered(self, key: str) -> str | None:
        """Returns the id of the job that an earlier call stored under one of these keys."""
        [job_id] = await self._store.ask(*self.remembering(key))
        return str(job_id) if job_id else None

    async def remember(self, key: str, job_id: str, seconds: int) -> None:
        """Stores the id of a job under one of these keys."""
        await self._store.redis.set(key, job_id, ex=seconds)

    async def mark_cancelled(self, job_id: str) -> str | None:
        """Marks a job so that its step cancels it. Returns its stage; None when there is no such job."""
        member = job_member(job_id)
        queue = queue_of(member)
        stage = await self._store.run("cancel", [keys.job(job_id), keys.due(queue)], [member, queue])
        return str(stage) if stage else None

    async def last_refusal(self, project: str, upstream: str) -> str | None:
        """Returns the error code of the project's last job that this upstream decided on, or None."""
        records, _ = await self.page(project, after=None, limit=20, wanted=JobFilter())
        decided = (record.job for record in records if record.job.upstream == upstream)
        last = next((job for job in decided if job.upstream_job_id or job.error), None)
        return last.error.code if last and last.error else None

    # ---- lists

    async def page(
        self, project: str, *, after: str | None, limit: int, wanted: JobFilter
    ) -> tuple[list[JobRecord], bool]:
        """Returns jobs newest first, and whether there are more.

        Raises JobNotFound for an unknown `after`; JobsNotIndexed where rows are missing and reading takes too long.
        """

        def _fits(record: JobRecord) -> bool:
            pairs = record.job.spec.metadata or NO_METADATA
            return wanted.metadata.items() <= pairs.items() and wanted.fits(record.job)

        pairs = wanted.metadata.items()
        names = [keys.jobs_with(project, name, value) for name, value in pairs] or [keys.jobs(project)]
        if wanted.by_metadata_alone:
            ids = common(self._store, names, after=after, at_once=limit + 1)
        elif await self._is_indexed(project, wait=False):
            last = None if after is None else (await self.read(after, project)).job
            ids = job_index.search(self._store, project, wanted, last, limit + 1)
        else:
            ids = self._for_a_while(project, common(self._store, names, after=after, at_once=READ_AT_ONCE))
        page = await JobRecord.page(self._store, ids, limit=limit, wanted=_fits)
        if after is not None:
            await self.read(after, project)  # after the search for its place, in which it may have been removed
        return page

    async def counts(self, project: str, upstreams: Sequence[str]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
        """Returns the number of the project's jobs by stage, and of those tracked and waiting by upstream and stage.

        Raises JobsNotIndexed, as `money` does.
        """
        await self._require_index(project)
        stages = await job_index.count_stages(self._store, project)
        return stages, await job_index.count_at(self._store, project, upstreams)

    async def money(self, project: str, at: int) -> dict[str, int]:
        """Returns the sums of the UTC month of `at`; see job_index.py."""
        await self._require_index(project)
        return await job_index.read_money(self._store, project, at)

    async def _require_index(self, project: str) -> None:
        if not await self._is_indexed(project, wait=True):
            raise await self.not_indexed(project)

    async def _is_indexed(self, project: str, *, wait: bool) -> bool:
        """Returns whether all jobs have their rows; makes those of earlier versions' jobs for a second at most.

        `wait`: if another process makes them, waits for it as long.
        """
        until = time.monotonic() + INDEXING_SECONDS
        while not await self._store.redis.sismember(keys.INDEXED, project):
            if time.monotonic() > until:
                return False
            if await self.index(project, until=until) is None:
                if not wait:
                    return False
                await asyncio.sleep(0.02)
        return True

    async def _for_a_while(self, project: str, batches: AsyncIterator[list[str]]) -> AsyncIterator[list[str]]:
        """Yields what `batches` does, for a second. Raises JobsNotIndexed after that."""
        until = time.monotonic() + INDEXING_SECONDS
        async for ids in batches:
            if time.monotonic() > until:
                raise await self.not_indexed(project)
            yield ids

    async def not_indexed(self, project: str) -> JobsNotIndexed:
        total, done = await self._store.redis.zcard(keys.jobs(project)), await job_index.count(self._store, project)
        return JobsNotIndexed(done=f"{done:,}", total=f"{total:,}", seconds=2)

    async def index(self, project: str, *, until: float = inf) -> int | None:
        """Makes the rows that are missing or not of a job's last revision, until a time (monotonic) if need be.

        Returns of how many jobs; None while another process does so. Safe to repeat, and beside anything else: a job
        that changes meanwhile gets its rows by that change.
        """
        try:
            async with self._store.lease(rows_member(project)):
                return await self._index(project, until)
        except LeaseTaken:
            return None

    async def _index(self, project: str, until: float) -> int:
        made = 0
        async for ids in job_index.unindexed(self._store, project):
            for first in range(0, len(ids), READ_AT_ONCE):
                records = await self.read_many(ids[first : first + READ_AT_ONCE])
                made += len(await self._store.commit_many([record.indexing() for record in records]))
                if time.monotonic() > until:
                    return made
        async for rows in job_index.without_job(self._store, project):
            if rows:
                await self._store.redis.zrem(keys.job_index(project), *rows)
        await self._store.redis.sadd(keys.INDEXED, project)
        return made

    def release(self, change: Change, job: Job) -> Change:
        """Adds the end of a job: its files are released, it is not polled or waiting any more, and it ages."""
        for file in job.files:
            change.do("SREM", keys.file_users(file.id), job.id)
            change.do("SREM", keys.copy_waiters(job.upstream, file.sha256), job.id)
            change.do("SREM", keys.copy_users(job.upstream, file.sha256), job.id)
            change.at(keys.DATASETS, file.id, 0)
            change.at(keys.COPIES, copy_id(job.upstream, file.sha256), 0)
        change.at(keys.SETTLED, job.id, 0)
        if job.upstream_job_id:
            change.do("HDEL", keys.live(job.upstream), job.upstream_job_id)
        return change
