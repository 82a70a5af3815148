"""Job records: submitting, reading, listing, their log, and the indexes a look needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from tunehook.errors import JobNotFound, RecordTooNew, RecordUnreadable
from tunehook.model.job import Cost, Job
from tunehook.model.member import copy_id, job_member, queue_of
from tunehook.model.record import RECORD_VERSION
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import unavailable
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease
from tunehook.store.indexes import common

log = logging.getLogger(__name__)

IDEMPOTENCY_SECONDS = 24 * 3600
#: The index entry of jobs without metadata, which `metadata=null` asks for. No real key is empty.
NO_METADATA = {"": ""}


@dataclass(frozen=True)
class JobRecord:
    """A job as it was read. Times of Redis' clock: `now_ms` when it was read, `intent_ms` of a create."""

    job: Job
    revision: int
    now_ms: int
    intent_ms: int | None = None
    cancel_requested_at: int | None = None

    @property
    def now(self) -> int:
        return self.now_ms // 1000

    @property
    def member(self) -> str:
        return job_member(self.job.id)

    def change(self, job: Job, lease: Lease | None = None) -> Change:
        """A change of this record into `job`; with a lease, refused when it is lost."""
        return Change(
            record=keys.job(job.id),
            revision=self.revision,
            document=job.model_dump_json(exclude_none=True),
            stage=job.stage,
            member=lease.member if lease else None,
            token=lease.token if lease else None,
        )


class Jobs:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    # ---- one job

    def submission(self, job: Job) -> Change:
        """The change that makes a job exist: record, indexes, due now, its files held."""
        change = Change(
            record=keys.job(job.id),
            revision=0,
            document=job.model_dump_json(exclude_none=True),
            stage=job.stage,
        )
        change.list_in(keys.jobs(job.project), job.id)
        for name, value in (job.spec.metadata or NO_METADATA).items():
            change.list_in(keys.jobs_with(job.project, name, value), job.id)
        for file in job.files:
            change.needs.append(keys.file(file.id))
            change.do("SADD", keys.file_users(file.id), job.id)
        change.do("SADD", keys.PROJECTS, job.project)
        return change.due(job_member(job.id), 0)

    async def read(self, job_id: str, project: str | None = None) -> JobRecord:
        """Raises JobNotFound, also for another project's; RecordTooNew for what a newer version wrote;
        RecordUnreadable for what nobody can read."""
        (seconds, micros), fields = await self._store.ask(("TIME",), ("HGETALL", keys.job(job_id)))
        record = _record(fields, int(seconds) * 1000 + int(micros) // 1000, job_id)
        if record is None or (project is not None and record.job.project != project):
            raise JobNotFound(id=job_id)
        return record

    async def read_many(self, job_ids: Iterable[str]) -> list[JobRecord]:
        """Those that exist and that we can read, in the order given: one bad record hides no others."""
        ids = list(job_ids)
        with unavailable():
            async with self._store.redis.pipeline(transaction=False) as pipe:
                pipe.time()
                for job_id in ids:
                    pipe.hgetall(keys.job(job_id))
                (seconds, micros), *found = await pipe.execute()
        now = int(seconds) * 1000 + int(micros) // 1000
        records: list[JobRecord] = []
        for job_id, fields in zip(ids, found, strict=True):
            try:
                record = _record(fields, now, job_id)
            except (RecordTooNew, RecordUnreadable) as error:
                log.warning("left out: %s", error.message)
                continue
            if record is not None:
                records.append(record)
        return records

    # ---- repeated calls

    @staticmethod
    def by_body(key_id: str, digest: str) -> str:
        """The key that holds the job which this body made last, for SDKs that repeat a call without an id of it."""
        return keys.repeat(key_id, digest)

    @staticmethod
    def by_retry(key_id: str, digest: str) -> str:
        """The key that holds the job which an SDK's retry of this body made: its first call may still run."""
        return keys.retried(key_id, digest)

    @staticmethod
    def by_idempotency_key(project: str, idempotency_key: str) -> str:
        return keys.idempotency(project, idempotency_key)

    async def remembered(self, key: str) -> str | None:
        """Returns the id of the job that an earlier call left under one of these keys."""
        with unavailable():
            job_id = await self._store.redis.get(key)
        return str(job_id) if job_id else None

    async def remember(self, key: str, job_id: str, seconds: int) -> None:
        """Leaves a job under one of these keys."""
        with unavailable():
            await self._store.redis.set(key, job_id, ex=seconds)

    async def mark_cancelled(self, job_id: str) -> str | None:
        """Asks the job's step to cancel it. Returns the stage it was in; None when there is no such job."""
        member = job_member(job_id)
        queue = queue_of(member)
        stage = await self._store.run("cancel", [keys.job(job_id), keys.due(queue)], [member, queue])
        return str(stage) if stage else None

    async def last_refusal(self, project: str, upstream: str) -> str | None:
        """The code with which the project's last job that this upstream decided on failed; None if it did not fail."""
        records, _ = await self.page(project, after=None, limit=20, metadata={})
        decided = (record.job for record in records if record.job.upstream == upstream)
        last = next((job for job in decided if job.upstream_job_id or job.error), None)
        return last.error.code if last and last.error else None

    # ---- lists

    async def page(
        self, project: str, *, after: str | None, limit: int, metadata: Mapping[str, str]
    ) -> tuple[list[JobRecord], bool]:
        """Newest first, and whether there are more. Raises JobNotFound for an unknown `after`."""
        names = [keys.jobs_with(project, name, value) for name, value in metadata.items()] or [keys.jobs(project)]
        if after is not None:
            await self.read(after, project)
        found: list[JobRecord] = []
        async for ids in common(self._store, names, after=after, at_once=limit + 1):
            for record in await self.read_many(ids):
                if metadata.items() <= (record.job.spec.metadata or NO_METADATA).items():
                    found.append(record)
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    # ---- changes made by several hands

    def release(self, change: Change, job: Job) -> Change:
        """What an unsettled job holds: its files, its place among the live and the waiting. From now on it ages."""
        for file in job.files:
            change.do("SREM", keys.file_users(file.id), job.id)
            change.do("SREM", keys.copy_waiters(job.upstream, file.sha256), job.id)
            change.do("SREM", keys.copy_users(job.upstream, file.sha256), job.id)
            change.at(keys.DATASETS, file.id, 0)
            change.at(keys.COPIES, copy_id(job.upstream, file.sha256), 0)
        change.at(keys.SETTLED, job.id, 0)
        change.do("ZREM", keys.waiting(job.upstream), job.id)
        if job.upstream_job_id:
            change.do("HDEL", keys.live(job.upstream), job.upstream_job_id)
        return change


def _record(fields: Mapping[str, str], now_ms: int, job_id: str) -> JobRecord | None:
    if not fields.get("doc"):
        return None
    version = fields.get("v", "")
    if version.isdecimal() and int(version) > RECORD_VERSION:
        raise RecordTooNew(record=job_id, version=version, known=RECORD_VERSION)
    intent, cancel = fields.get("intent"), fields.get("cancel")
    try:
        job = Job.model_validate_json(fields["doc"])
        if job.estimate is None and "estimate" in fields:
            job = job.model_copy(update={"estimate": Cost.model_validate_json(fields["estimate"])})
        return JobRecord(
            job=job,
            revision=int(fields["rev"]),
            now_ms=now_ms,
            intent_ms=int(intent) if intent else None,
            cancel_requested_at=int(cancel) if cancel else None,
        )
    except (KeyError, ValueError) as error:
        raise RecordUnreadable(record=job_id, why=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'document'}: {first['msg']}"
    return f"{type(error).__name__} {error}"
