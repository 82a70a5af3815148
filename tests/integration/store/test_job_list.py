"""Lists of jobs that are filtered by several pairs of metadata: all that fit, in few round trips."""

from collections.abc import AsyncIterator, Mapping
from itertools import count

import pytest

from cli.valkey_process import connect
from tests.fakes.valkey import Valkey
from tunehook.model.job import FileRef, Job, JobSpec
from tunehook.store.engine import keys
from tunehook.store.indexes import common
from tunehook.store.job_index import JobFilter
from tunehook.store.store import Store

PROJECT = "acme"
BOTH = {"team": "search", "kind": "nightly"}


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    store = Store.connect(valkey.url)
    yield store
    await store.close()


async def accepted(store: Store, *all_metadata: Mapping[str, str]) -> list[str]:
    """Ids of jobs with such metadata, the first of them the oldest."""
    ids, changes, numbers = [], [], count()
    for metadata in all_metadata:
        job = Job(
            id=f"ftjob-{next(numbers):05d}",
            project=PROJECT,
            key_id="key",
            created_at=1,
            spec=JobSpec(model="m", training_file="upstream:file-1", seed=1, metadata=dict(metadata)),
            upstream="openai",
            training=FileRef(id="upstream:file-1", sha256="", bytes=0),
        )
        change = store.jobs.submission(job)
        change.needs.clear()
        changes.append(change)
        ids.append(job.id)
    assert all(isinstance(outcome, int) for outcome in await store.commit_many(changes))
    return ids


def reads(valkey: Valkey) -> tuple[int, int]:
    """(ranges of an index, records) ever read."""
    with connect(valkey.url) as client:
        stats = client.info("commandstats")
    ranges, records = (int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("zrange", "hgetall"))
    return ranges, records


async def test_few_that_fit_among_many_are_found_in_few_round_trips(store: Store, valkey: Valkey) -> None:
    many = [{"team": "search", "kind": "weekly"}] * 700 + [{"team": "news", "kind": "nightly"}] * 600
    oldest, *_, newest = await accepted(store, BOTH, *many, BOTH)
    before = reads(valkey)
    records, more = await store.jobs.page(PROJECT, after=None, limit=1, wanted=JobFilter(BOTH))
    assert ([record.job.id for record in records], more) == ([newest], True)
    records, more = await store.jobs.page(PROJECT, after=newest, limit=1, wanted=JobFilter(BOTH))
    assert ([record.job.id for record in records], more) == ([oldest], False)
    ranges, read = (now - then for now, then in zip(reads(valkey), before, strict=True))
    assert ranges <= 4  # of 602 ids each, 500 at once
    assert read <= 4  # what fits, and `after`


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "wanted", [{}, {"team": "search"}, BOTH, {**BOTH, "more": "x"}, {"team": "nobody", "kind": "x"}]
)
async def test_page_by_page_all_that_fit_come_once(store: Store, limit: int, wanted: dict[str, str]) -> None:
    kinds = [{"team": "search"}, BOTH, {**BOTH, "more": "x"}, {"kind": "nightly"}, BOTH, {"more": "x"}, BOTH]
    ids = await accepted(store, *kinds)
    after, found, more = None, [], True
    while more:
        records, more = await store.jobs.page(PROJECT, after=after, limit=limit, wanted=JobFilter(wanted))
        found += [record.job.id for record in records]
        after = found[-1] if found else None
    fits = [job_id for job_id, metadata in zip(ids, kinds, strict=True) if wanted.items() <= metadata.items()]
    assert found == fits[::-1]


async def test_a_record_that_cannot_be_read_makes_no_page_short(store: Store, valkey: Valkey) -> None:
    ids = await accepted(store, *[BOTH] * 7)
    with connect(valkey.url) as client:
        for job_id in ids[-4:]:
            client.hset(f"th:job:{job_id}", "doc", "{}")
    records, more = await store.jobs.page(PROJECT, after=None, limit=1, wanted=JobFilter(BOTH))
    assert ([record.job.id for record in records], more) == ([ids[2]], True)


async def test_jobs_that_come_and_go_meanwhile_make_no_other_come_twice_or_be_missing(store: Store) -> None:
    ids = await accepted(store, *[BOTH] * 9)
    found: list[str] = []
    async for batch in common(store, [keys.jobs(PROJECT)], after=ids[-1], at_once=2):
        found += batch
        if len(found) == 2:  # one newer job more, then two fewer
            await store.redis.zadd(keys.jobs(PROJECT), {"ftjob-newer": 1e6})
        elif len(found) == 4:
            await store.redis.zrem(keys.jobs(PROJECT), "ftjob-newer", ids[-1], ids[-2])
    assert found == ids[-2::-1]
