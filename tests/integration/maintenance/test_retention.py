"""What is removed when its time is over, here and at the upstream; and what is not, because somebody needs it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from cli.valkey_process import connect
from simulator.clock import Clock
from tests.fakes.context import opened_context
from tests.fakes.datasets import dataset
from tests.fakes.shut_down_upstream import after_the_shutdown
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.stored import data_dir
from tests.fakes.valkey import Valkey
from tunehook.context import Context, RetentionPeriods, open_context
from tunehook.errors import FileNotFound, JobNotFound, UploadNotOpen
from tunehook.files import uploads
from tunehook.jobs import acceptance, commands, copy_step, cost, lifecycle, poller
from tunehook.maintenance import retention
from tunehook.model.file import File
from tunehook.model.job import FileRef, Job, JobSpec, Stage
from tunehook.model.record import new_id
from tunehook.settings import Settings
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Missing

MODEL = "gpt-4.1-mini-2025-04-14"
PROJECT = "acme"
NOTHING = RetentionPeriods()
EVERYTHING = RetentionPeriods(jobs=0.0, datasets=0.0, copies=0.0)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running_simulator(clock=Clock(time.time), speed=1) as running:
        yield running


@pytest.fixture
async def ctx(valkey: Valkey, simulator: Simulator, tmp_path: Path) -> AsyncIterator[Context]:
    async with (
        opened_context(valkey.url, tmp_path, upstreams={"openai": simulator.base_url}) as opened,
        after_the_shutdown(opened, simulator.base_url) as ctx,
    ):
        yield ctx


async def stored(ctx: Context, *, expires_at: int | None = None) -> File:
    content = dataset()
    file_id = new_id("file-")
    sha256 = await ctx.files.storage.save(file_id, content)
    file = File(
        id=file_id,
        project=PROJECT,
        filename="train.jsonl",
        purpose="fine-tune",
        bytes=len(content),
        created_at=int(time.time()),
        sha256=sha256,
        expires_at=expires_at,
    )
    await ctx.store.files.add(file)
    return file


async def tracked(ctx: Context, file: File) -> Job:
    """A job that the upstream has."""
    job = Job(
        id=new_id("ftjob-"),
        project=PROJECT,
        key_id="key",
        created_at=int(time.time()),
        spec=JobSpec(model=MODEL, training_file=file.id, seed=1, metadata={"team": "search"}),
        upstream="openai",
        training=FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes),
    )
    await acceptance.accept(ctx, job, remember=[], recall=[])
    await lifecycle.advance(ctx, job.id)
    await copy_step.copy_to_upstream(ctx, "openai", file.sha256)
    await lifecycle.advance(ctx, job.id)
    found = (await ctx.store.jobs.read(job.id)).job
    assert found.stage is Stage.TRACKED
    return found


async def finished(ctx: Context, simulator: Simulator, file: File) -> Job:
    """A job that has succeeded, its results fetched."""
    job = await tracked(ctx, file)
    await simulator.advance(3600)
    await poller.poll(ctx, "openai")
    await lifecycle.advance(ctx, job.id)
    await cost.estimate_accepted(ctx, job.id)
    found = (await ctx.store.jobs.read(job.id)).job
    assert found.status == "succeeded"
    assert found.result_files
    return found


def names(valkey: Valkey) -> set[str]:
    with connect(valkey.url) as client:
        return {key.decode() for key in client.keys("th:*")}


async def there(simulator: Simulator) -> list[str]:
    async with openai.AsyncOpenAI(base_url=simulator.base_url, api_key="k", max_retries=0) as client:
        return [file.id async for file in client.files.list(purpose="fine-tune")]


async def test_nothing_is_removed_unless_it_is_asked_for(ctx: Context, simulator: Simulator) -> None:
    job = await finished(ctx, simulator, await stored(ctx))
    await ctx.store.unplan(f"job:{job.id}")
    await retention.sweep(replace(ctx, keep=NOTHING))
    assert (await ctx.store.jobs.read(job.id)).job.status == "succeeded"
    assert await ctx.files.storage.exists(job.training.id)
    assert len(await there(simulator)) == 1


async def test_a_finished_job_goes_with_all_that_was_only_its_own(
    ctx: Context, simulator: Simulator, valkey: Valkey
) -> None:
    empty = names(valkey)
    job = await finished(ctx, simulator, await stored(ctx))
    ctx = replace(ctx, keep=EVERYTHING)
    await retention.sweep(ctx)
    assert (await ctx.store.jobs.read(job.id)).job.status == "succeeded", "late events are still fetched"
    await ctx.store.unplan(f"job:{job.id}")
    await asyncio.to_thread(_an_hour_passes, valkey)
    await retention.sweep(ctx)
    with pytest.raises(JobNotFound):
        await ctx.store.jobs.read(job.id)
    for file_id in (job.training.id, *job.result_files.values()):
        with pytest.raises(FileNotFound):
            await ctx.store.files.read(file_id, PROJECT)
        assert not await ctx.files.storage.exists(file_id)
    assert await there(simulator) == [], "the copy at the upstream is still there"
    figures = await ctx.store.metrics.read(["openai"])
    assert figures.jobs.get("settled") == 0
    left = names(valkey) - empty
    allowed = {
        keys.models(PROJECT), keys.models_by_age(PROJECT), keys.MODEL_OWNERS,  # the model lives, and is this project's
        keys.known("openai"),  # whose the upstream's job was: nobody else may import it
        keys.PROJECTS, keys.SEQUENCE, keys.STAGES, keys.due("steps"), keys.due("polls"), keys.CLAIMS, keys.STORAGE_MARK,
        keys.log_read("openai"),
        keys.COUNTS, keys.project_events(PROJECT),  # totals, and a stream of bounded length
    }  # fmt: skip
    left = {name for name in left if not name.startswith(keys.costs(PROJECT, ""))}  # what a month cost stays
    assert left <= allowed, left - allowed
    assert (await ctx.store.models.of_project(PROJECT))[0].job_id == job.id


async def test_what_a_live_job_needs_is_never_touched(ctx: Context, simulator: Simulator, valkey: Valkey) -> None:
    """One job has ended, another still trains on the same copy."""
    file = await stored(ctx)
    ended = await finished(ctx, simulator, file)
    await ctx.store.unplan(f"job:{ended.id}")
    live = await tracked(ctx, file)
    await asyncio.to_thread(_an_hour_passes, valkey)
    ctx = replace(ctx, keep=EVERYTHING)
    for _ in range(2):
        await retention.sweep(ctx)
        await asyncio.to_thread(_an_hour_passes, valkey)
    assert (await ctx.store.jobs.read(live.id)).job.stage is Stage.TRACKED
    assert await ctx.files.storage.exists(file.id)
    assert len(await there(simulator)) == 1
    with pytest.raises(JobNotFound):
        await ctx.store.jobs.read(ended.id)
    await commands.cancel(ctx, live.id, PROJECT)
    await lifecycle.advance(ctx, live.id)
    await ctx.store.unplan(f"job:{live.id}")
    await asyncio.to_thread(_an_hour_passes, valkey)
    await retention.sweep(ctx)
    assert not await ctx.files.storage.exists(file.id)
    assert await there(simulator) == []


async def test_a_job_is_not_accepted_on_a_file_that_goes_at_this_moment(ctx: Context) -> None:
    """The request has seen the file; before it commits, the sweep removes it."""
    file = await stored(ctx, expires_at=int(time.time()))
    job = Job(
        id=new_id("ftjob-"),
        project=PROJECT,
        key_id="key",
        created_at=int(time.time()),
        spec=JobSpec(model=MODEL, training_file=file.id, seed=1),
        upstream="openai",
        training=FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes),
    )
    await retention.sweep(ctx)
    with pytest.raises(Missing):
        await acceptance.accept(ctx, job, remember=[], recall=[])
    with pytest.raises(JobNotFound):
        await ctx.store.jobs.read(job.id)


async def test_an_upstream_that_does_not_answer_is_asked_again(
    ctx: Context, simulator: Simulator, valkey: Valkey
) -> None:
    job = await finished(ctx, simulator, await stored(ctx))
    await ctx.store.unplan(f"job:{job.id}")
    ctx = replace(ctx, keep=EVERYTHING)
    await simulator.fault("http_503", path="/files/", method="DELETE", times=1)
    await retention.sweep(ctx)
    assert len(await there(simulator)) == 1
    await retention.sweep(ctx)
    assert await there(simulator) == []
    assert await ctx.store.deletion.leaving_copies(10) == []


async def test_a_file_goes_at_its_expires_at_and_not_before(ctx: Context, simulator: Simulator, valkey: Valkey) -> None:
    """Not even when a job on it has ended, after which datasets without such a time go."""
    over, later = await stored(ctx, expires_at=int(time.time())), await stored(ctx, expires_at=2**31)
    job = await finished(ctx, simulator, later)
    await ctx.store.unplan(f"job:{job.id}")
    await asyncio.to_thread(_an_hour_passes, valkey)
    await retention.sweep(replace(ctx, keep=EVERYTHING))
    with pytest.raises(FileNotFound):
        await ctx.store.files.read(over.id, PROJECT)
    assert not await ctx.files.storage.exists(over.id)
    assert (await ctx.store.files.read(later.id, PROJECT)).id == later.id, "it was promised until 2038"
    assert await ctx.files.storage.exists(later.id)
    with pytest.raises(JobNotFound):
        await ctx.store.jobs.read(job.id)


async def test_an_upload_whose_hour_is_over_leaves_nothing(ctx: Context, valkey: Valkey) -> None:
    upload_ = await uploads.begin(ctx.files, PROJECT, filename="a", purpose="fine-tune", size=10, expires_after=None)
    incoming = ctx.files.storage.parts(upload_.id).receive(new_id("part_"))
    await incoming.open()
    await incoming.write(b"12345")
    part = await uploads.keep_part(ctx.files, upload_, incoming)
    await incoming.close()
    await retention.sweep(ctx)
    assert await ctx.files.storage.parts(upload_.id).exists(part), "its hour is not over"
    record = await ctx.store.uploads.read(upload_.id, PROJECT)
    await ctx.store.commit(record.change(record.upload.model_copy(update={"expires_at": int(time.time())})))
    await asyncio.to_thread(_expire_uploads, valkey)
    async with ctx.store.lease(f"upload:{upload_.id}"):
        await retention.sweep(ctx)
        assert await ctx.files.storage.parts(upload_.id).exists(part), "somebody is joining them"
    await retention.sweep(ctx)
    assert not await ctx.files.storage.parts(upload_.id).exists(part)
    with pytest.raises(UploadNotOpen, match="expired"):
        await uploads.complete(ctx.files, upload_.id, PROJECT, [part], None)


async def test_webhook_events_are_kept_as_long_as_the_settings_say(valkey: Valkey, tmp_path: Path) -> None:
    settings = Settings.model_validate({"redis_url": valkey.url, "data_dir": tmp_path, "keep_deliveries_days": 9})
    async with open_context(settings) as ctx:
        job = Job(
            id="ftjob-1",
            project=PROJECT,
            key_id="key",
            created_at=int(time.time()),
            spec=JobSpec(model=MODEL, training_file="upstream:file-1", seed=1),
            upstream="openai",
            training=FileRef(id="upstream:file-1", sha256="", bytes=0),
            callback_url="https://you.example/hooks",
        )
        await acceptance.accept(ctx, job, remember=[], recall=[])
        await commands.cancel(ctx, job.id, PROJECT)
        (delivery,), _ = await ctx.store.deliveries.page_of_job(job.id, after=None, limit=10)
    with connect(valkey.url) as client:
        kept = [client.ttl(key) for key in (keys.event(delivery.event_id), keys.delivery(delivery.id))]
    assert all(9 * 86400 - 60 < seconds <= 9 * 86400 for seconds in kept)


async def test_what_a_killed_process_half_received_goes_after_a_day(ctx: Context) -> None:
    incoming = ctx.files.storage.receive("file-1")
    await incoming.open()
    await incoming.write(b"half")

    def left() -> list[Any]:
        return list((data_dir(ctx.files.storage) / "files").glob(".incoming-*"))

    assert await ctx.files.storage.sweep(older_than=3600) == 0
    assert len(await asyncio.to_thread(left)) == 1
    assert await ctx.files.storage.sweep(older_than=-1) == 1
    assert await asyncio.to_thread(left) == []
    await incoming.close()


def _an_hour_passes(valkey: Valkey) -> None:
    """For what retention has put off because it was needed."""
    with connect(valkey.url) as client:
        for index in (keys.SETTLED, keys.DATASETS, keys.COPIES, keys.EXPIRING):
            for member, _ in client.zscan_iter(index):
                client.zincrby(index, -3_700_000, member)


def _expire_uploads(valkey: Valkey) -> None:
    with connect(valkey.url) as client:
        for member, _ in client.zscan_iter(keys.UPLOADS):
            client.zadd(keys.UPLOADS, {member: 1})
