"""Job index: the rows by which a project's jobs are filtered, the texts that are searched, and both searches.

The rows are the members of one zset a project, in the order of their bytes. A job has one for each of its stage,
status, model and upstream (`stage⏎waiting⏎<created_at>⏎<place in the order of acceptance>⏎<id>`) and one of all jobs.
The texts are lines in strings of 512 places each, which are searched some 100 times faster than as many members.
commit.lua keeps both. A record says in `indexed` at which revision they were made: `Jobs.index` makes those that an
earlier version did not make.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tunehook.model.job import Job, Stage
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Index
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.indexes import common

#: What one run of a search reads at most, rows or bytes of texts: 1 to 2 ms of Redis.
ROWS_AT_ONCE, BYTES_AT_ONCE = 1000, 2_000_000
#: So much of a string of texts is read at a time. It holds a whole line: metadata has 9 kB at the most.
PIECE_BYTES = 128 * 1024
#: So much of a job is searched: four bytes each fit into a piece. An import's metadata may have megabytes.
TEXT_CHARS = 30_000
#: A line that has the text costs as much as so many bytes for each filter that it is compared with.
BYTES_OF_A_LINE = 500
#: So many jobs have their texts in one string (commit.lua).
PLACES = 512
#: Begins the row that every job has.
ALL = "job\n"
#: Stages whose jobs are counted by upstream.
AT_UPSTREAM = (Stage.TRACKED, Stage.WAITING)
#: A time of twelve digits that no job was created at.
NEVER = 999_999_999_999
#: Records whose revisions are compared in one run of unindexed.lua.
RECORDS_AT_ONCE = 1000


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are wanted; None: any. `created_after` ≤ created < `created_before`, unix seconds.

    `text` stands somewhere in the id, suffix, metadata or a model's name, in any case.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    stage: str | None = None
    status: str | None = None
    model: str | None = None
    upstream: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    text: str | None = None

    @property
    def by_metadata_alone(self) -> bool:
        return self == JobFilter(self.metadata)

    def fits(self, job: Job) -> bool:
        """Returns whether a job is wanted, but for its metadata."""
        return (
            self.stage in (None, job.stage.value)
            and self.status in (None, job.shown_status)
            and self.model in (None, job.spec.model)
            and self.upstream in (None, job.upstream)
            and (self.created_after is None or job.created_at >= self.created_after)
            and (self.created_before is None or job.created_at < self.created_before)
            and (self.text is None or _line(self.text) in _text(job))
        )


def of(job: Job) -> Index:
    """Returns a job's rows and text, and its part in the money of a month."""
    values = {"stage": job.stage.value, "status": job.shown_status, "model": job.spec.model, "upstream": job.upstream}
    if job.stage in AT_UPSTREAM:
        values[f"{job.stage.value} at"] = job.upstream
    return _index(job, [ALL, *(_beginning(name, value) for name, value in values.items())], _text(job))


def gone(job: Job) -> Index:
    """Returns the end of a job's rows and text. The money that it cost stays."""
    return _index(job, [], "")


def _index(job: Job, rows: list[str], text: str) -> Index:
    return Index(
        rows_in=keys.job_index(job.project),
        texts=keys.job_texts(job.project),
        order=keys.jobs(job.project),
        id=job.id,
        created_at=job.created_at,
        rows=rows,
        text=text,
        sums=list(_sums(job)),
    )


def costs(project: str, at: int) -> str:
    """Returns the key of the sums of the UTC month of `at` (unix seconds)."""
    return keys.costs(project, f"{datetime.fromtimestamp(at, UTC):%Y-%m}")


def _sums(job: Job) -> list[tuple[str, str, int]]:
    """Returns (key, field, amount) of the month's sums. Money is in millionths of a dollar.

    A job that has not ended counts with its estimate, one that has with its cost, in the month of its end.
    """
    if job.stage is not Stage.SETTLED:
        usd = job.estimate.usd if job.estimate else None
        name = costs(job.project, job.created_at)
        return [(name, "estimated", round(usd * 1e6))] if usd else []
    if job.cost is None:
        return []
    name = costs(job.project, job.settled_at or job.created_at)
    return [(name, "unpriced", 1)] if job.cost.usd is None else [(name, "spent", round(job.cost.usd * 1e6))]


def _beginning(name: str, value: str) -> str:
    return f"{name}\n{value.replace(chr(10), ' ')}\n"


def _text(job: Job) -> str:
    """Returns what `q` is looked for in, in lower case, in one line."""
    pairs = [part for pair in (job.spec.metadata or {}).items() for part in pair]
    tuned = job.seen.fine_tuned_model if job.seen else None
    words = [job.id, job.spec.suffix, job.spec.model, tuned, job.upstream_job_id, *pairs]
    return "\t".join(_line(word) for word in words if word)[:TEXT_CHARS]


def _line(text: str) -> str:
    return text.lower().replace("\n", " ").replace("\t", " ")


async def search(
    store: DueQueue, project: str, wanted: JobFilter, after: Job | None, most: int
) -> AsyncIterator[list[str]]:
    """Yields the ids of the jobs behind `after` that fit, newest first, up to `most` at a time.

    Each round trip reads a bounded part of the index. Of several members of the filter, the one with the fewest rows
    is walked; a text is looked for in all texts.
    """
    named = {name: getattr(wanted, name) for name in ("stage", "status", "model", "upstream")}
    query: dict[str, Any] = {
        "beginnings": [ALL, *(_beginning(name, value) for name, value in named.items() if value is not None)],
        "low": wanted.created_after or 0,
        "high": wanted.created_before or NEVER,
        "most": most,
        "rows": ROWS_AT_ONCE,
        "bytes": BYTES_AT_ONCE,
        "line": BYTES_OF_A_LINE * (len(named) + len(wanted.metadata)),
    }
    names = [keys.jobs_with(project, name, value) for name, value in wanted.metadata.items()]
    if wanted.text is not None:
        query |= {"text": _line(wanted.text), "texts": keys.job_texts(project), "piece": PIECE_BYTES}
        batches = _search_texts(store, project, query, names, after)
    else:
        batches = _search_rows(store, project, query, names, after)
    async for ids in batches:
        yield ids


async def _search_rows(
    store: DueQueue, project: str, query: dict[str, Any], names: list[str], after: Job | None
) -> AsyncIterator[list[str]]:
    cursor = ""
    if after is not None:
        cursor = f"{after.created_at:012}\n{await _place(store, after):016}"
    over = False
    while not over:
        ids, cursor, over = await store.run("search", [keys.job_index(project), *names], [json.dumps(query), cursor])
        yield ids


async def _search_texts(
    store: DueQueue, project: str, query: dict[str, Any], names: list[str], after: Job | None
) -> AsyncIterator[list[str]]:
    """The texts of 512 places stand in one string, in no order: its jobs are known when it is read to the end."""
    names = [keys.job_index(project), keys.jobs(project), *names]
    behind = "" if after is None else str(await _place(store, after))
    chunk, offset, over, waiting = "", 0, False, dict[int, str]()
    while not over:
        rows, chunk, offset, over = await store.run("search_text", names, [json.dumps(query), behind, chunk, offset])
        waiting |= {int(place): job_id for place, job_id in zip(rows[::2], rows[1::2], strict=True)}
        known = sorted((place for place in waiting if over or not offset or place // PLACES > int(chunk)), reverse=True)
        for first in range(0, max(1, len(known)), query["most"]):
            yield [waiting.pop(place) for place in known[first : first + query["most"]]]


async def _place(store: DueQueue, job: Job) -> int:
    """Returns a job's place in the order of acceptance."""
    return int(await store.redis.zscore(keys.jobs(job.project), job.id) or 0)


async def count(store: DueQueue, project: str) -> int:
    """Returns how many jobs of the project have rows."""
    return int(await store.redis.zlexcount(keys.job_index(project), f"[{ALL}", f"({ALL}:"))


async def count_stages(store: DueQueue, project: str) -> dict[str, int]:
    """Returns how many jobs of the project are in each stage."""
    async with store.redis.pipeline(transaction=False) as pipe:
        for stage in Stage:
            low = _beginning("stage", stage.value)
            pipe.zlexcount(keys.job_index(project), f"[{low}", f"({low}:")
        return dict(zip((stage.value for stage in Stage), await pipe.execute(), strict=True))


async def count_at(store: DueQueue, project: str, upstreams: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns how many jobs of the project are tracked and wait, by upstream and stage."""
    async with store.redis.pipeline(transaction=False) as pipe:
        for name in upstreams:
            for stage in AT_UPSTREAM:
                low = _beginning(f"{stage.value} at", name)
                pipe.zlexcount(keys.job_index(project), f"[{low}", f"({low}:")
        counts = iter(await pipe.execute())
    return {name: {stage.value: next(counts) for stage in AT_UPSTREAM} for name in upstreams}


async def read_money(store: DueQueue, project: str, at: int) -> dict[str, int]:
    """Returns the sums of the UTC month of `at`: `estimated` and `spent` in millionths of a dollar, `unpriced` jobs."""
    found = await store.redis.hgetall(costs(project, at))
    return {name: int(found.get(name, 0)) for name in ("estimated", "spent", "unpriced")}


async def unindexed(store: DueQueue, project: str, at_once: int = RECORDS_AT_ONCE) -> AsyncIterator[list[str]]:
    """Yields the ids of the project's jobs whose rows are not those of their last revision."""
    async for ids in common(store, [keys.jobs(project)], after=None, at_once=at_once, ascending=True):
        if found := await store.run("unindexed", [keys.job(job_id) for job_id in ids], []):
            yield [keys.job_id_of(name) for name in found]


async def without_job(store: DueQueue, project: str, at_once: int = RECORDS_AT_ONCE) -> AsyncIterator[list[str]]:
    """Yields the rows of jobs that an earlier version deleted, which knows of no rows."""
    index, begin = keys.job_index(project), "-"
    while rows := await store.redis.zrange(index, begin, "+", bylex=True, offset=0, num=at_once):
        scores = await store.redis.zmscore(keys.jobs(project), [row.rpartition("\n")[2] for row in rows])
        yield [row for row, score in zip(rows, scores, strict=True) if score is None]
        begin = f"({rows[-1]}"  # those that were yielded may be gone
