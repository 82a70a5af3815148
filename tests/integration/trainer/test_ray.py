"""Turns by Ray Jobs: what a cluster is told, and what its answers mean. tests/trainer/check_ray.py has a real one."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.ray import TOKEN, Ray, running_ray
from tests.fakes.trainer import ROOT, running_trainer, until
from tests.integration.trainer.conftest import Bench
from trainer import folders

NO_REDIS = "redis://127.0.0.1:9/0"


@pytest.fixture
async def ray() -> AsyncIterator[Ray]:
    async with running_ray() as found:
        yield found


@pytest.fixture
async def bench(ray: Ray, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_trainer(
        tmp_path / "trainer", NO_REDIS, ray=ray.url, ray_token=TOKEN, stop_seconds=0.1
    ) as trainer:
        found = Bench(trainer)
        yield found
        await found.client.close()


async def turns(ray: Ray, job_id: str, *numbers: str) -> None:
    """Waits until Ray knows these turns of a job."""

    async def look() -> list[str]:
        return ray.of(job_id)

    await until(look, lambda found: found == list(numbers))


async def test_what_ray_runs_is_the_job(bench: Bench, ray: Ray) -> None:
    job = await bench.create(metadata={"a": "it's"})
    await turns(ray, job.id, "1")
    turn = ray.jobs[f"{job.id}-1"]
    assert (turn["entrypoint_num_cpus"], "entrypoint_num_gpus" in turn) == (1, False)
    assert TOKEN not in str(turn)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNEHOOK_")}
    process = await asyncio.create_subprocess_shell(turn["entrypoint"], cwd=ROOT, env=kept)
    ray.jobs[f"{job.id}-1"]["status"] = "RUNNING"
    assert await process.wait() == 0
    assert (await bench.until(job.id, "succeeded", "failed")).status == "succeeded"
    assert await bench.steps(job.id) == list(range(1, 97))
    assert ray.of(job.id) == ["1"]


async def test_a_turn_that_is_over_is_asked_for_again_under_another_name(bench: Bench, ray: Ray) -> None:
    first, second = await bench.create(), await bench.create()
    await turns(ray, first.id, "1")
    await turns(ray, second.id, "1")
    ray.end(f"{first.id}-1", "FAILED", None)  # Ray's own failure, or its node's, or it has waited for too long
    await turns(ray, first.id, "1", "2")
    await bench.trainer.stop()
    await bench.trainer.start()
    ray.jobs.clear()  # Ray was started again
    await turns(ray, first.id, "3")
    await turns(ray, second.id, "2")
    assert (await bench.client.fine_tuning.jobs.retrieve(first.id)).status == "queued"


async def test_what_dies_where_ray_runs_it_fails_after_three_deaths(bench: Bench, ray: Ray) -> None:
    job = await bench.create()
    for number in ("1", "2", "3"):
        await turns(ray, job.id, *"123"[: int(number)])
        ray.end(f"{job.id}-{number}", "FAILED", 127)
    ended = await bench.until(job.id, "failed")
    assert ended.error is not None
    assert ended.error.code == "training_process_died"
    assert f"turn {job.id}-3" in str(ended.error.message)
    assert ray.of(job.id) == ["1", "2", "3"]


async def test_a_job_that_cannot_have_its_turn_keeps_no_other_from_theirs(bench: Bench, ray: Ray) -> None:
    first = await bench.create()
    await turns(ray, first.id, "1")
    ray.jobs.clear()
    (bench.trainer.folder(first.id) / "turns").write_text("damaged")
    second = await bench.create()
    await turns(ray, second.id, "1")


async def test_what_goes_on_after_its_end_is_stopped_and_what_waits_is_left(bench: Bench, ray: Ray) -> None:
    jobs = bench.client.fine_tuning.jobs
    hangs, waits = await bench.create(), await bench.create()
    await turns(ray, hangs.id, "1")
    await turns(ray, waits.id, "1")
    with folders.hold(bench.trainer.folder(hangs.id) / "lock") as ours:
        assert ours
        ray.jobs[f"{hangs.id}-1"]["status"] = "RUNNING"
        await jobs.cancel(hangs.id)
        await jobs.pause(waits.id)

        async def stopped() -> list[str]:
            return ray.stopped

        await until(stopped, bool)
    assert ray.stopped == [f"{hangs.id}-1"]
    await jobs.resume(waits.id)
    await asyncio.sleep(3 * bench.trainer.config.sweep_seconds)
    assert ray.of(waits.id) == ["1"], "it has kept its place"


async def test_a_job_asks_for_the_gpus_of_a_slot_and_takes_those_that_ray_gives(ray: Ray, tmp_path: Path) -> None:
    given = {"ray": ray.url, "ray_token": TOKEN, "slots": "0,1;2,3"}
    async with running_trainer(tmp_path / "trainer", NO_REDIS, **given) as trainer:
        bench = Bench(trainer)
        job = await bench.create()
        await turns(ray, job.id, "1")
        await bench.client.close()
    turn = ray.jobs[f"{job.id}-1"]
    assert (turn["entrypoint_num_gpus"], "entrypoint_num_cpus" in turn) == (2, False)
    assert " TUNEHOOK_TRAINER_SLOT=$CUDA_VISIBLE_DEVICES " in turn["entrypoint"]
