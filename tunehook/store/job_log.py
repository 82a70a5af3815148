"""Job logs: a Redis stream per job, whose ids are the positions by which clients page and resume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunehook.model import metrics
from tunehook.model.job import Job, Message
from tunehook.model.member import job_member
from tunehook.store.engine import keys
from tunehook.store.engine.commit import LOG_KEPT
from tunehook.store.engine.due_queue import DueQueue

#: The last events come up to 8 s after a job's end and are fetched until 16 s after it.
LATE_SECONDS = 60


@dataclass(frozen=True)
class LogEntry:
    """An entry of a job's log; `position` (`<ms>-<n>`) orders entries and is the cursor to resume from."""

    position: str
    message: Message


class JobLog:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def append(self, job_id: str, messages: Iterable[Message]) -> int:
        """Adds events in order, each of the upstream's once, and the metrics in them. Returns how many were new.

        An event is known by its id, or by its content: of n equal events in `messages`, as many are new as there are
        more than in the log.
        """
        arguments = [str(LOG_KEPT)]
        for message in messages:
            content = f"={message.content_sha256[:32]}" if message.upstream_event_id is not None else ""
            row = metrics.row_of(message.data) if message.type == "metrics" else None
            arguments += [message.upstream_event_id or "", content, message.model_dump_json(exclude_none=True)]
            arguments.append(metrics.line_of(row) if row else "")
        if len(arguments) == 1:
            return 0
        log = [keys.job_log(job_id), keys.job_log_seen(job_id), keys.job_metrics(job_id)]
        return int(await self._store.run("append", log, arguments))

    async def append_extra(self, job: Job, message: Message) -> None:
        """Logs and counts an extra job, named by `upstream_event_id`, the first time it is found."""
        at = [keys.job_log(job.id), keys.job_log_seen(job.id), keys.job_metrics(job.id), keys.EXTRAS]
        row = [message.upstream_event_id or "", "", message.model_dump_json(exclude_none=True), ""]
        await self._store.run("append", at, [str(LOG_KEPT), *row, job.upstream])

    async def reaches_known(self, job_id: str, page: Sequence[Message]) -> bool:
        """Returns whether an upstream's page, newest first, reaches the log: by an id or its oldest content."""
        names = [message.upstream_event_id for message in page if message.upstream_event_id]
        names += [f"={message.content_sha256[:32]}#1" for message in page[-1:]]
        return bool(names) and any(await self._store.redis.smismember(keys.job_log_seen(job_id), names))

    async def page(self, job_id: str, *, after: str | None, limit: int) -> tuple[list[LogEntry], bool]:
        """Returns entries older than the position `after`, newest first, and whether there are more."""
        newest = f"({after}" if after else "+"
        command = ("XREVRANGE", keys.job_log(job_id), newest, "-", "COUNT", str(limit + 1))
        (rows,) = await self._store.ask(command)
        return [_entry(row) for row in rows[:limit]], len(rows) > limit

    async def after(self, job_id: str, position: str, limit: int) -> list[LogEntry]:
        """Returns entries newer than `position`, oldest first; `0-0` is before all."""
        rows = await self._store.redis.xrange(keys.job_log(job_id), f"({position}", "+", count=limit)
        return [_entry(row) for row in rows]

    async def read(self, positions: Mapping[str, str], limit: int, seconds: float) -> dict[str, list[LogEntry]]:
        """Returns the entries after these positions, by job; waits up to `seconds` for one if there are none.

        Oldest first, at most `limit` of a job, and only the jobs that have any.
        """
        ids = {keys.job_log(job_id): job_id for job_id in positions}
        streams = {keys.job_log(job_id): position for job_id, position in positions.items()}
        found = await self._store.redis.xread(streams, count=limit, block=int(seconds * 1000))
        return {ids[name]: [_entry(row) for row in rows] for name, rows in dict(found).items()}

    async def ended(self, job_ids: Iterable[str]) -> dict[str, bool]:
        """Returns those of the jobs that have ended; True: nothing is added to their logs any more."""
        ids = list(job_ids)
        members = [job_member(job_id) for job_id in ids]
        (seconds, _), settled, planned = await self._store.ask(
            ("TIME",), ("ZMSCORE", keys.SETTLED, *ids), ("ZMSCORE", keys.due("steps"), *members)
        )
        return {
            job_id: due_at is None or int(seconds) - float(settled_at) / 1000 > LATE_SECONDS
            for job_id, settled_at, due_at in zip(ids, settled, planned, strict=True)
            if settled_at is not None
        }

    async def follow(self, job_id: str, seconds: float) -> None:
        """Lets every poll fetch this job's events for so many seconds: a client reads its log."""
        until = await self._store.now_ms() + int(seconds * 1000)
        await self._store.redis.zadd(keys.FOLLOWED, {job_id: until})

    async def followed(self) -> set[str]:
        """Returns the ids of the jobs whose logs clients read now."""
        now = await self._store.now_ms()
        await self._store.redis.zremrangebyscore(keys.FOLLOWED, "-inf", now)
        return set(await self._store.redis.zrange(keys.FOLLOWED, 0, -1))


def _entry(row: tuple[str, Mapping[str, Any]]) -> LogEntry:
    position, fields = row
    return LogEntry(position, Message.model_validate(json.loads(fields["doc"])))
