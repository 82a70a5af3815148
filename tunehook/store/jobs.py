"""Job records: submitting, reading, listing, their log, and the indexes a look needs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunehook.errors import JobNotFound, RecordTooNew, RecordUnreadable
from tunehook.model import RECORD_VERSION, Cost, Job, Message
from tunehook.store import keys
from tunehook.store.commit import LOG_KEPT, Change
from tunehook.store.connection import unavailable
from tunehook.store.files import copy_id
from tunehook.store.indexes import common
from tunehook.store.lease import Lease

if TYPE_CHECKING:
    from tunehook.store.store import Store

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
        return f"job:{self.job.id}"

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


@dataclass(frozen=True)
class LogEntry:
    """A line of a job's log; `position` (`<ms>-<n>`) orders it and is its resumable cursor."""

    position: str
    message: Message


class Jobs:
    def __init__(self, store: Store) -> None:
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
        return change.due(f"job:{job.id}", 0)

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

    async def by_key(self, key: str) -> str | None:
        """The id of the job that an earlier call has left there (`keys.idempotency`, `keys.retried`)."""
        with unavailable():
            job_id = await self._store.redis.get(key)
        return str(job_id) if job_id else None

    async def remember(self, key: str, job_id: str, seconds: int) -> None:
        """For `by_key`."""
        with unavailable():
            await self._store.redis.set(key, job_id, ex=seconds)

    async def mark_cancelled(self, job_id: str) -> str | None:
        """Asks the job's step to cancel it. Returns the stage it was in; None when there is no such job."""
        member = f"job:{job_id}"
        queue = keys.queue_of(member)
        stage = await self._store.run("cancel", [keys.job(job_id), keys.due(queue)], [member, queue])
        return str(stage) if stage else None

    async def note_estimate(self, job_id: str, estimate: Cost) -> None:
        """Beside the record, whose revision a step may be holding at this moment; the next change takes it in."""
        await self._store.run("note", [keys.job(job_id)], ["estimate", estimate.model_dump_json(exclude_none=True)])

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

    # ---- the log

    async def append(self, job_id: str, messages: Iterable[Message]) -> int:
        """Adds events in order; those of the upstream each once. Returns how many were new."""
        arguments: list[str] = [job_id, str(LOG_KEPT)]
        for message in messages:
            arguments += [message.upstream_event_id or "", message.model_dump_json(exclude_none=True)]
        if len(arguments) == 2:
            return 0
        log = [keys.job_log(job_id), keys.job_log_seen(job_id)]
        return int(await self._store.run("append", log, arguments))

    async def tell_extra(self, job: Job, message: Message) -> None:
        """An extra job at the upstream (`upstream_event_id` names it): said and counted once, however often found."""
        at = [keys.job_log(job.id), keys.job_log_seen(job.id), keys.EXTRAS]
        row = [message.upstream_event_id or "", message.model_dump_json(exclude_none=True)]
        await self._store.run("append", at, [job.id, str(LOG_KEPT), *row, job.upstream])

    async def any_known(self, job_id: str, messages: Iterable[Message]) -> bool:
        """Whether one of an upstream's events is in the log already."""
        ids = [message.upstream_event_id for message in messages if message.upstream_event_id]
        with unavailable():
            return bool(ids) and any(await self._store.redis.smismember(keys.job_log_seen(job_id), ids))

    async def log_page(self, job_id: str, *, after: str | None, limit: int) -> tuple[list[LogEntry], bool]:
        """Newest first, those older than the position `after`."""
        newest = f"({after}" if after else "+"
        with unavailable():
            rows = await self._store.redis.xrevrange(keys.job_log(job_id), newest, "-", count=limit + 1)
        return [_entry(row) for row in rows[:limit]], len(rows) > limit

    async def log_behind(self, job_id: str, position: str, limit: int) -> list[LogEntry]:
        """Oldest first, those newer than `position`; `0-0` is before all."""
        with unavailable():
            rows = await self._store.redis.xrange(keys.job_log(job_id), f"({position}", "+", count=limit)
        return [_entry(row) for row in rows]

    async def follow(self, job_id: str, seconds: float) -> None:
        """Somebody reads this log: looks fetch its events every time for that long."""
        until = await self._store.now_ms() + int(seconds * 1000)
        with unavailable():
            await self._store.redis.zadd(keys.FOLLOWED, {job_id: until})

    async def followed(self) -> set[str]:
        now = await self._store.now_ms()
        with unavailable():
            await self._store.redis.zremrangebyscore(keys.FOLLOWED, "-inf", now)
            return set(await self._store.redis.zrange(keys.FOLLOWED, 0, -1))

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


def _entry(row: tuple[str, Mapping[str, Any]]) -> LogEntry:
    position, fields = row
    return LogEntry(position, Message.model_validate(json.loads(fields["doc"])))
