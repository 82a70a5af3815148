"""Metrics of jobs: a string of lines for each, which append.lua adds to with the event that brings them.

They stay as long as the job: its log loses the oldest entries. A row takes 60 to 100 bytes.
"""

from __future__ import annotations

import asyncio

from tunehook.model import metrics
from tunehook.model.metrics import Row
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.job_log import JobLog

#: Longer lines are parsed in a thread: 3,000 rows take 5 ms of the event loop.
INLINE_CHARS = 200_000
#: Entries of a log that are read at once.
PAGE = 500


class JobMetrics:
    def __init__(self, store: DueQueue, log: JobLog) -> None:
        self._store, self._log = store, log

    async def read(self, job_id: str) -> list[Row]:
        """Returns the job's rows by step."""
        [lines] = await self._store.ask(("GET", keys.job_metrics(job_id)))
        if lines is None:
            return await self._from_log(job_id)
        if len(lines) <= INLINE_CHARS:
            return metrics.rows_of_lines(lines)
        return await asyncio.to_thread(metrics.rows_of_lines, lines)

    async def fill(self, job_id: str, result_file: bytes) -> int:
        """Adds what a result file has and the job's events had not; returns the number of rows."""
        rows = await asyncio.to_thread(metrics.rows_of_csv, result_file)
        new = metrics.missing(await self.read(job_id), rows)
        if new:
            lines = await asyncio.to_thread(lambda: "".join(map(metrics.line_of, new)))
            await self._store.redis.append(keys.job_metrics(job_id), lines)
        return len(new)

    async def _from_log(self, job_id: str) -> list[Row]:
        """Returns the rows of a job whose events an earlier version read."""
        rows: list[Row] = []
        position = "0-0"
        while entries := await self._log.after(job_id, position, PAGE):
            position = entries[-1].position
            found = (metrics.row_of(one.message.data) for one in entries if one.message.type == "metrics")
            rows += [row for row in found if row is not None]
        return metrics.merged(rows)
