"""What is removed when its time is over, here and at the upstream; and what is not, because somebody needs it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from cli.valkey_process import connect
from simulator.clock import Clock
from tests.neighbours.simulator import Simulator, running_simulator
from tests.neighbours.valkey import Valkey
from tests.story.datasets import dataset
from tunehook import intake, lifecycle, look, retention, upload
from tunehook.allow_list import AllowList
from tunehook.errors import FileNotFound, JobNotFound, UploadNotOpen
from tunehook.model import File, FileRef, Job, JobSpec, Stage, new_id
from tunehook.openai_upstream import OpenAIUpstream
from tunehook.settings import Settings, UpstreamSettings
from tunehook.shelf import Shelf
from tunehook.store import Store, keys
from tunehook.store.commit import Missing
from tunehook.vault import Vault
from tunehook.world import Keep, World, open_world

MODEL = "gpt-4.1-mini-2025-04-14"
PROJECT = "acme"
NOTHING = Keep()
EVERYTHING = Keep(jobs=0.0, datasets=0.0, copies=0.0)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running_simulator(clock=Clock(time.time), speed=1) as running:
        yield running


@pytest.fixture
async def world(valkey: Valkey, simulator: Simulator, tmp_path: Path) -> AsyncIterator[World]:
    store = Store.connect(valkey.url)
    settings = UpstreamSettings(base_url=simulator.base_url, api_key=SecretStr("sk-simulated"))
    upstream = OpenAIUpstream("openai", settings)
    yield World(
        store=store,
        shelf=Shelf(tmp_path),
        vault=Vault(SecretStr(Fernet.generate_key().decode())),
        upstreams={"openai": upstream},
        allow=AllowList.parse(""),
    )
    await upstream.close()
    await store.close()


async def stored(world: World, *, expires_at: int | None = None) -> File:
    content = dataset()
    file_id = new_id("file-")
    sha256 = await world.shelf.save(file_id, content)
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
    await world.store.files.add(file)
    return file


async def tracked(world: World, file: File) -> Job:
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
    await lifecycle.submit(world, job, remember=[], recall=[])
    await lifecycle.advance(world, job.id)
    await upload.upload(world, "openai", file.sha256)
    await lifecycle.advance(world, job.id)
    found = (await world.store.jobs.read(job.id)).job
    assert found.stage is Stage.TRACKED
    return found


async def finished(world: World, simulator: Simulator, file: File) -> Job:
    """A job that has succeeded, its results fetched."""
    job = await tracked(world, file)
    await simulator.advance(3600)
    await look.look(world, "openai")
    await lifecycle.advance(world, job.id)
    found = (await world.store.jobs.read(job.id)).job
    assert found.status == "succeeded"
    assert found.result_files
    return found


def names(valkey: Valkey) -> set[str]:
    with connect(valkey.url) as client:
        return {key.decode() for key in client.keys("th:*")}


async def there(simulator: Simulator) -> list[str]:
    async with openai.AsyncOpenAI(base_url=simulator.base_url, api_key="k", max_retries=0) as client:
        return [file.id async for file in client.files.list(purpose="fine-tune")]


async def test_nothing_is_removed_unless_it_is_asked_for(world: World, simulator: Simulator) -> None:
    job = await finished(world, simulator, await stored(world))
    await world.store.unplan(f"job:{job.id}")
    await retention.sweep(replace(world, keep=NOTHING))
    assert (await world.store.jobs.read(job.id)).job.status == "succeeded"
    assert await world.shelf.exists(job.training.id)
    assert len(await there(simulator)) == 1


async def test_a_finished_job_goes_with_all_that_was_only_its_own(
    world: World, simulator: Simulator, valkey: Valkey
) -> None:
    empty = names(valkey)
    job = await finished(world, simulator, await stored(world))
    world = replace(world, keep=EVERYTHING)
    await retention.sweep(world)
    assert (await world.store.jobs.read(job.id)).job.status == "succeeded", "late events are still fetched"
    await world.store.unplan(f"job:{job.id}")
    await asyncio.to_thread(_an_hour_passes, valkey)
    await retention.sweep(world)
    with pytest.raises(JobNotFound):
        await world.store.jobs.read(job.id)
    for file_id in (job.training.id, *job.result_files.values()):
        with pytest.raises(FileNotFound):
            await world.store.files.read(file_id, PROJECT)
        assert not await world.shelf.exists(file_id)
    assert await there(simulator) == [], "the copy at the upstream is still there"
    figures = await world.store.figures.read(["openai"])
    assert figures.jobs.get("settled") == 0
    left = names(valkey) - empty
    allowed = {
        keys.models(PROJECT), keys.MODEL_OWNERS,  # the model lives, and is this project's
        keys.known("openai"),  # whose the upstream's job was: nobody else may import it
        keys.PROJECTS, keys.SEQUENCE, keys.STAGES, keys.due("steps"), keys.CLAIMS, keys.log_read("openai"), keys.SHELF,
    }  # fmt: skip
    assert left <= allowed, left - allowed
    assert (await world.store.models.of_project(PROJECT))[0].job_id == job.id


async def test_what_a_live_job_needs_is_never_touched(world: World, simulator: Simulator, valkey: Valkey) -> None:
    """One job has ended, another still trains on the same copy."""
    file = await stored(world)
    ended = await finished(world, simulator, file)
    await world.store.unplan(f"job:{ended.id}")
    live = await tracked(world, file)
    await asyncio.to_thread(_an_hour_passes, valkey)
    world = replace(world, keep=EVERYTHING)
    for _ in range(2):
        await retention.sweep(world)
        await asyncio.to_thread(_an_hour_passes, valkey)
    assert (await world.store.jobs.read(live.id)).job.stage is Stage.TRACKED
    assert await world.shelf.exists(file.id)
    assert len(await there(simulator)) == 1
    with pytest.raises(JobNotFound):
        await world.store.jobs.read(ended.id)
    await lifecycle.cancel(world, live.id, PROJECT)
    await lifecycle.advance(world, live.id)
    await world.store.unplan(f"job:{live.id}")
    await asyncio.to_thread(_an_hour_passes, valkey)
    await retention.sweep(world)
    assert not await world.shelf.exists(file.id)
    assert await there(simulator) == []


async def test_a_job_is_not_accepted_on_a_file_that_goes_at_this_moment(world: World) -> None:
    """The request has seen the file; before it commits, the sweep removes it."""
    file = await stored(world, expires_at=int(time.time()))
    job = Job(
        id=new_id("ftjob-"),
        project=PROJECT,
        key_id="key",
        created_at=int(time.time()),
        spec=JobSpec(model=MODEL, training_file=file.id, seed=1),
        upstream="openai",
        training=FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes),
    )
    await retention.sweep(world)
    with pytest.raises(Missing):
        await lifecycle.submit(world, job, remember=[], recall=[])
    with pytest.raises(JobNotFound):
        await world.store.jobs.read(job.id)


async def test_an_upstream_that_does_not_answer_is_asked_again(
    world: World, simulator: Simulator, valkey: Valkey
) -> None:
    job = await finished(world, simulator, await stored(world))
    await world.store.unplan(f"job:{job.id}")
    world = replace(world, keep=EVERYTHING)
    await simulator.fault("http_503", path="/files/", method="DELETE", times=1)
    await retention.sweep(world)
    assert len(await there(simulator)) == 1
    await retention.sweep(world)
    assert await there(simulator) == []
    assert await world.store.forgetting.leaving_copies(10) == []


async def test_a_file_goes_at_its_expires_at_and_not_before(world: World, simulator: Simulator, valkey: Valkey) -> None:
    """Not even when a job on it has ended, after which datasets without such a time go."""
    over, later = await stored(world, expires_at=int(time.time())), await stored(world, expires_at=2**31)
    job = await finished(world, simulator, later)
    await world.store.unplan(f"job:{job.id}")
    await asyncio.to_thread(_an_hour_passes, valkey)
    await retention.sweep(replace(world, keep=EVERYTHING))
    with pytest.raises(FileNotFound):
        await world.store.files.read(over.id, PROJECT)
    assert not await world.shelf.exists(over.id)
    assert (await world.store.files.read(later.id, PROJECT)).id == later.id, "it was promised until 2038"
    assert await world.shelf.exists(later.id)
    with pytest.raises(JobNotFound):
        await world.store.jobs.read(job.id)


async def test_an_upload_whose_hour_is_over_leaves_nothing(world: World, valkey: Valkey) -> None:
    upload_ = await intake.begin(world, PROJECT, filename="a", purpose="fine-tune", size=10, expires_after=None)
    incoming = world.shelf.parts(upload_.id).receive()
    await incoming.open()
    await incoming.write(b"12345")
    part = await intake.keep_part(world, upload_, incoming)
    await incoming.close()
    await retention.sweep(world)
    assert await world.shelf.parts(upload_.id).exists(part), "its hour is not over"
    record = await world.store.uploads.read(upload_.id, PROJECT)
    await world.store.commit(record.change(record.upload.model_copy(update={"expires_at": int(time.time())})))
    await asyncio.to_thread(_expire_uploads, valkey)
    async with world.store.lease(f"upload:{upload_.id}"):
        await retention.sweep(world)
        assert await world.shelf.parts(upload_.id).exists(part), "somebody is joining them"
    await retention.sweep(world)
    assert not await world.shelf.parts(upload_.id).exists(part)
    with pytest.raises(UploadNotOpen, match="expired"):
        await intake.complete(world, upload_.id, PROJECT, [part], None)


async def test_webhook_events_are_kept_as_long_as_the_settings_say(valkey: Valkey, tmp_path: Path) -> None:
    settings = Settings.model_validate({"redis_url": valkey.url, "data_dir": tmp_path, "keep_deliveries_days": 9})
    async with open_world(settings) as world:
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
        await lifecycle.submit(world, job, remember=[], recall=[])
        await lifecycle.cancel(world, job.id, PROJECT)
        (delivery,) = await world.store.deliveries.of_job(job.id)
    with connect(valkey.url) as client:
        kept = [client.ttl(key) for key in (keys.event(delivery.event_id), keys.delivery(delivery.id))]
    assert all(9 * 86400 - 60 < seconds <= 9 * 86400 for seconds in kept)


async def test_what_a_killed_process_half_received_goes_after_a_day(world: World) -> None:
    incoming = world.shelf.receive()
    await incoming.open()
    await incoming.write(b"half")

    def left() -> list[Any]:
        return list(world.shelf.directory.glob(".incoming-*"))

    assert await world.shelf.sweep(older_than=3600) == 0
    assert len(await asyncio.to_thread(left)) == 1
    assert await world.shelf.sweep(older_than=-1) == 1
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
