"""Filters of the list of jobs: against the records themselves, with jobs of an earlier version, and for many jobs."""

import asyncio
import random
from itertools import product
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from tests.fakes.redis_between import redis_between
from tests.fakes.valkey import Valkey
from tunehook.errors import JobsNotIndexed
from tunehook.model.job import Cost, FileRef, Job, JobSpec, Price, Stage, UpstreamJob
from tunehook.model.member import rows_member
from tunehook.store import job_index, upgrade
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.engine.lease import ended
from tunehook.store.job_index import JobFilter, costs, search
from tunehook.store.jobs import JobRecord
from tunehook.store.store import Store
from worker.scheduler import Scheduler

PROJECT = "acme"
NOVEMBER = 1_795_700_000  # 2026-11-26
NONE = {stage.value: 0 for stage in Stage}


def job(number: int, **members: object) -> Job:
    job = Job(
        id=f"ftjob-N{number:05d}",
        project=PROJECT,
        key_id="key",
        created_at=NOVEMBER + number,
        spec=JobSpec(model="gpt-4.1-mini", training_file="upstream:file-1", seed=1, metadata={"n": f"number {number}"}),
        upstream="openai",
        training=FileRef(id="upstream:file-1", sha256="", bytes=0),
    )
    return job.model_copy(update=members)


def spec(number: int, **members: object) -> JobSpec:
    return job(number).spec.model_copy(update=members)


async def accepted(store: Store, jobs: list[Job]) -> list[JobRecord]:
    for first in range(0, len(jobs), 500):
        await store.commit_many([store.jobs.submission(one) for one in jobs[first : first + 500]])
    return await store.jobs.read_many([one.id for one in jobs])


async def settled(store: Store, records: list[JobRecord], status: str) -> None:
    """Ends jobs: over the stage `tracked`, as their arrows want it."""
    for stage in (Stage.UPLOADING, Stage.SETTLED):
        changes = []
        for record in await store.jobs.read_many([record.job.id for record in records]):
            ends = {"status": status, "settled_at": NOVEMBER} if stage is Stage.SETTLED else {}
            changes.append(record.change(record.job.moved(stage, **ends)))
        assert all(isinstance(outcome, int) for outcome in await store.commit_many(changes))


async def found(store: Store, wanted: JobFilter, *, limit: int = 7) -> list[str]:
    """Ids of all pages."""
    ids: list[str] = []
    more = True
    while more:
        page, more = await store.jobs.page(PROJECT, after=ids[-1] if ids else None, limit=limit, wanted=wanted)
        ids += [record.job.id for record in page]
    return ids


@pytest.fixture
async def store(valkey: Valkey):  # type: ignore[no-untyped-def]
    store = Store.connect(valkey.url)
    yield store
    await store.close()


async def mixed(store: Store) -> list[Job]:
    chance = random.Random(7)  # noqa: S311
    jobs = [
        job(
            number,
            upstream=chance.choice(["openai", "azure"]),
            spec=spec(number, model=chance.choice(["m-1", "m-2"]), suffix=chance.choice([None, "Birds"])),
        )
        for number in range(60)
    ]
    records = await accepted(store, jobs)
    await settled(store, records[:20], "failed")
    await settled(store, records[20:30], "succeeded")
    return [record.job for record in await store.jobs.read_many([one.id for one in reversed(jobs)])]


FILTERS = [
    JobFilter(stage=stage, status=status, model=model, text=text, created_after=low, created_before=high)
    for stage, status, model, text, (low, high) in product(
        (None, "settled"),
        (None, "failed", "validating_files"),
        (None, "m-1"),
        (None, "birds", "FTJOB-n0001"),
        ((None, None), (NOVEMBER + 10, NOVEMBER + 25)),
    )
] + [JobFilter({"n": "number 4"}, upstream=upstream) for upstream in ("openai", "azure", "none")]


async def test_each_filter_gives_what_the_records_say(store: Store) -> None:
    jobs = await mixed(store)
    for wanted in FILTERS:
        expected = [
            one.id for one in jobs if wanted.fits(one) and wanted.metadata.items() <= (one.spec.metadata or {}).items()
        ]
        assert await found(store, wanted) == expected, wanted
    assert (await store.jobs.counts(PROJECT, []))[0] == {**NONE, "accepted": 30, "settled": 30}


async def test_jobs_of_an_earlier_version_are_found(store: Store) -> None:
    """Its programs write a record without rows, and go on doing so during a rolling upgrade."""
    records = await accepted(store, [job(number) for number in range(250)])
    await store.redis.delete(keys.job_index(PROJECT))
    for record in records:
        await store.redis.hdel(keys.job(record.job.id), "rows", "indexed")
    wanted = JobFilter(status="validating_files")
    await upgrade.index_jobs(store)
    assert len(await found(store, wanted, limit=100)) == 250
    await store.redis.delete(keys.INDEX_CHECKED)
    ended = records[3].job.model_copy(update={"stage": Stage.SETTLED, "status": "failed"})
    await store.redis.hset(keys.job(ended.id), mapping={"rev": 2, "doc": ended.model_dump_json(), "stage": "settled"})
    await store.redis.delete(keys.job(records[4].job.id))  # its retention
    await store.redis.zrem(keys.jobs(PROJECT), records[4].job.id)
    await upgrade.index_jobs(store)
    assert 0 < await store.redis.ttl(keys.INDEX_CHECKED) <= upgrade.CHECK_AGAIN_SECONDS, "older programs may go on"
    assert await found(store, JobFilter(status="failed")) == [ended.id]
    assert len(await found(store, wanted, limit=100)) == 248
    assert (await store.jobs.counts(PROJECT, []))[0] == {**NONE, "accepted": 248, "settled": 1}


async def test_requests_do_not_wait_until_many_jobs_are_indexed(store: Store) -> None:
    """A list is answered from the records meanwhile, and what needs counts says how far it is."""
    for record in await accepted(store, [job(number) for number in range(120)]):
        await store.redis.hdel(keys.job(record.job.id), "rows", "indexed")
    await store.redis.delete(keys.job_index(PROJECT))
    wanted = JobFilter(status="validating_files", text="number 11")
    async with store.lease(rows_member(PROJECT)):  # another process is at it
        assert await store.jobs.index(PROJECT) is None
        assert await found(store, wanted) == [job(number).id for number in (*range(119, 109, -1), 11)]
        with pytest.raises(JobsNotIndexed, match="0 of 120 are"):
            await store.jobs.counts(PROJECT, [])
    assert await store.jobs.index(PROJECT, until=0) == 100  # whoever has no more time leaves what is made
    with pytest.raises(JobsNotIndexed, match="100 of 120 are"):
        raise await store.jobs.not_indexed(PROJECT)
    outcomes = await asyncio.gather(*(upgrade.index_jobs(store) for _ in range(5)))
    assert outcomes == [None] * 5
    assert (await store.jobs.counts(PROJECT, []))[0] == {**NONE, "accepted": 120}
    assert await store.jobs.index(PROJECT) == 0
    assert await found(store, wanted, limit=100) == [job(number).id for number in (*range(119, 109, -1), 11)]


async def test_a_process_that_was_too_slow_does_not_end_the_turn_of_the_next(
    store: Store, valkey: Valkey, tmp_path: Path
) -> None:
    turn = keys.lease(rows_member(PROJECT))

    async def _take_over(commands: list[list[bytes]]) -> None:
        if commands[0][:2] == [b"SADD", keys.INDEXED.encode()]:
            await store.redis.set(turn, "of the next")

    await accepted(store, [job(1)])
    async with redis_between(valkey.url, tmp_path, before=_take_over) as url, Store.connect(url) as slow:
        assert await slow.jobs.index(PROJECT) == 0
    assert await store.redis.get(turn) == "of the next"


async def test_a_deleted_job_leaves_no_row(store: Store) -> None:
    [record] = await accepted(store, [job(1)])
    await settled(store, [record], "failed")
    assert await store.deletion.delete_job(await store.jobs.read(record.job.id))
    assert await store.redis.exists(keys.job_index(PROJECT), keys.job(record.job.id)) == 0


async def test_few_among_many_are_found_without_reading_the_others(store: Store) -> None:
    """How many commands, so that it holds on any machine. The times are in docs/benchmarks.md."""
    records = await accepted(store, [job(number) for number in range(3000)])
    await settled(store, records[::150], "failed")
    await settled(store, [record for number, record in enumerate(records) if number % 150], "succeeded")
    for wanted, trips in ((JobFilter(status="failed"), 1), (JobFilter(text="number 299"), 1)):
        await found(store, wanted, limit=100)
        await store.redis.config_resetstat()
        page, _ = await store.jobs.page(PROJECT, after=None, limit=100, wanted=wanted)
        stats = await store.redis.info("commandstats")
        assert stats["cmdstat_hgetall"]["calls"] == len(page) > 0, wanted
        assert stats["cmdstat_evalsha"]["calls"] == trips, wanted


async def test_a_text_that_all_jobs_have_is_looked_for_a_part_at_a_time(store: Store) -> None:
    await accepted(store, [job(number) for number in range(2_000)])
    wanted = JobFilter(text="ftjob-", upstream="another")
    parts = [part async for part in search(store, PROJECT, wanted, None, 20)]
    assert len(parts) >= 2, "one run of the script compared every job"
    assert not any(parts)


async def test_the_money_of_a_month_follows_the_jobs(store: Store) -> None:
    price = Price(usd_per_million_tokens=5.0, source="s", as_of="2026-11-01")
    records = await accepted(store, [job(n, price=price, estimate=Cost(billed_tokens=1, usd=0.25)) for n in range(3)])
    sums = costs(PROJECT, NOVEMBER)
    assert await store.redis.hgetall(sums) == {"estimated": "750000"}
    seen = UpstreamJob(id="ftjob-there", status="succeeded", trained_tokens=100_000)
    ended = records[0].job.moved(Stage.UPLOADING).settled("succeeded", now=NOVEMBER, seen=seen)
    await store.commit(records[0].change(records[0].job.moved(Stage.UPLOADING)))
    await store.commit((await store.jobs.read(ended.id)).change(ended))
    await store.commit((await store.jobs.read(ended.id)).change(ended.model_copy(update={"ready_at": NOVEMBER})))
    assert await store.redis.hgetall(sums) == {"estimated": "500000", "spent": "500000"}
    assert await store.deletion.delete_job(await store.jobs.read(ended.id))
    assert await store.redis.hgetall(sums) == {"estimated": "500000", "spent": "500000"}


async def test_a_redis_that_does_not_know_a_script_gets_its_text_once(store: Store) -> None:
    await store.redis.script_flush()
    await store.redis.config_resetstat()
    assert len(await accepted(store, [job(number) for number in range(300)])) == 300
    stats = await store.redis.info("commandstats")
    assert stats["cmdstat_eval"]["calls"] == 1


async def test_long_texts_are_read_in_pieces_and_their_jobs_come_in_order(store: Store) -> None:
    long = {f"k{number}": "ü" * 500 for number in range(15)}
    jobs = [job(number, spec=spec(number, metadata={**long, "name": f"bird {number % 3}"})) for number in range(90)]
    await accepted(store, jobs)
    wanted = [one.id for one in reversed(jobs) if one.spec.metadata and one.spec.metadata["name"] == "bird 1"]
    assert await found(store, JobFilter(text="bird 1")) == wanted
    assert await found(store, JobFilter(text="bird 1", metadata={"name": "bird 1"}), limit=100) == wanted
    assert await found(store, JobFilter(text="bird 9")) == []


async def test_a_text_that_is_longer_than_a_piece_holds_up_no_search(store: Store) -> None:
    """An import may have megabytes of metadata: a search went on through them byte by byte, and never ended."""
    long = spec(1, metadata={"first": "a kite", "long": "x" * 1_000_000})
    await accepted(store, [job(0), job(1, spec=long), job(2)])
    assert await found(store, JobFilter(text="kite")) == [job(1).id]
    assert await found(store, JobFilter(text="number")) == [job(2).id, job(0).id]


async def test_jobs_that_go_meanwhile_hide_none_that_stay(store: Store) -> None:
    """Retention goes on while jobs of an earlier version are indexed, and while rows without a job are removed."""
    jobs = [record.job.id for record in await accepted(store, [job(number) for number in range(40)])]
    for job_id in jobs:
        await store.redis.hdel(keys.job(job_id), "indexed")
    seen: list[str] = []
    async for ids in job_index.unindexed(store, PROJECT, at_once=10):
        seen += ids
        await store.redis.zrem(keys.jobs(PROJECT), *ids[:5])
    assert seen == jobs
    gone = set(jobs) - set(await store.redis.zrange(keys.jobs(PROJECT), 0, -1))
    async for rows in job_index.without_job(store, PROJECT, at_once=10):
        if rows:
            await store.redis.zrem(keys.job_index(PROJECT), *rows)
    left = {row.rpartition("\n")[2] for row in await store.redis.zrange(keys.job_index(PROJECT), 0, -1)}
    assert left == set(jobs) - gone


async def test_a_refusal_to_index_does_not_end_the_scheduler(
    store: Store, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Semaphore(0)

    async def refuse(_: Store) -> None:
        asked.release()
        raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")

    monkeypatch.setattr(upgrade, "index_jobs", refuse)
    with open_blocking(valkey.url) as connection:
        scheduler = asyncio.create_task(Scheduler(store, connection, [], upgrade_seconds=0.05).run())
        async with asyncio.timeout(60):
            for _ in range(3):
                await asked.acquire()
        assert not scheduler.done()
        await ended(scheduler)
    assert "jobs of an earlier version cannot be indexed now: WRONGTYPE" in caplog.text
