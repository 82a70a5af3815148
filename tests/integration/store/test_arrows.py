"""All pairs of stages: the table, the model and Redis itself refuse the same moves."""

import itertools
from collections.abc import AsyncIterator

import pytest

from tests.fakes.valkey import Valkey
from tunehook.errors import IllegalMove, LeaseLost, RecordTooNew, RevisionChanged
from tunehook.model.job import ARROWS, FileRef, Job, JobSpec, Stage, may_move
from tunehook.model.record import RECORD_VERSION
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.jobs import JobRecord
from tunehook.store.store import Store

PAIRS = list(itertools.product(Stage, Stage))
#: By hand, so that nobody adds an arrow without thinking of it twice.
MOVES = {
    "accepted → uploading waiting settled",
    "uploading → creating waiting settled",
    "creating → uploading waiting tracked settled",
    "waiting → uploading creating tracked settled",
    "tracked → settled",
    "settled →",
}


def job(stage: Stage) -> Job:
    return Job(
        id="ftjob-arrows",
        project="p",
        key_id="k",
        created_at=1,
        stage=stage,
        spec=JobSpec(model="m", training_file="file-1", seed=1),
        upstream="openai",
        training=FileRef(id="file-1", sha256="0" * 64, bytes=1),
    )


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    opened = Store.connect(valkey.url)
    yield opened
    await opened.close()


async def written(store: Store, stage: Stage) -> JobRecord:
    """A job that is in this stage, whatever the way there was."""
    document = job(stage).model_dump_json(exclude_none=True)
    await store.commit(Change(record=keys.job("ftjob-arrows"), revision=0, document=document, stage=stage))
    return await store.jobs.read("ftjob-arrows")


def test_the_table_is_what_we_meant() -> None:
    shown = {f"{source} → {' '.join(t for t in Stage if t in targets)}".strip() for source, targets in ARROWS.items()}
    assert shown == MOVES


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_model_moves_along_arrows_only(source: Stage, target: Stage) -> None:
    allowed = source == target or target in ARROWS[source]
    assert may_move(source, target) is allowed
    if allowed:
        assert job(source).moved(target).stage is target
    else:
        with pytest.raises(IllegalMove, match=f"from {source} to {target}"):
            job(source).moved(target)


@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_redis_refuses_what_is_no_arrow(store: Store, source: Stage, target: Stage) -> None:
    record = await written(store, source)
    # By a writer that does not ask the model first.
    change = record.change(record.job.model_copy(update={"stage": target}))
    change.do("SET", "th:test", "written")
    if source == target or target in ARROWS[source]:
        await store.commit(change)
        found = await store.jobs.read("ftjob-arrows")
        assert (found.job.stage, found.revision) == (target, 2)
    else:
        with pytest.raises(IllegalMove):
            await store.commit(change)
        found = await store.jobs.read("ftjob-arrows")
        assert (found.job.stage, found.revision) == (source, 1)
        assert await store.redis.exists("th:test") == 0


async def test_redis_refuses_a_writer_that_read_something_older(store: Store) -> None:
    record = await written(store, Stage.ACCEPTED)
    await store.commit(record.change(record.job.moved(Stage.UPLOADING)))
    with pytest.raises(RevisionChanged):
        await store.commit(record.change(record.job.moved(Stage.UPLOADING)))


async def test_redis_refuses_a_writer_whose_lease_is_anothers(store: Store) -> None:
    record = await written(store, Stage.ACCEPTED)
    async with store.lease(record.member) as lease:
        change = record.change(record.job.moved(Stage.UPLOADING), lease)
    async with store.lease(record.member):
        with pytest.raises(LeaseLost):
            await store.commit(change)
    assert (await store.jobs.read("ftjob-arrows")).revision == 1


async def test_redis_refuses_to_change_what_a_newer_version_wrote(store: Store) -> None:
    record = await written(store, Stage.ACCEPTED)
    await store.redis.hset(keys.job("ftjob-arrows"), "v", RECORD_VERSION + 1)
    with pytest.raises(RecordTooNew):
        await store.commit(record.change(record.job.moved(Stage.UPLOADING)))
    with pytest.raises(RecordTooNew):
        await store.jobs.read("ftjob-arrows")
