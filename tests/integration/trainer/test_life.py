"""A job's life at the trainer, with a fake training child: the end, kills, pause, cancel, one slot for two."""

import asyncio
import os
import signal
from pathlib import Path

import openai
import pytest

from tests.fakes.sentinel import replicated
from tests.fakes.trainer import BASE, running_trainer, until
from tests.integration.trainer.conftest import Bench

pytestmark = pytest.mark.processes


async def test_a_job_from_creation_to_its_model(bench: Bench) -> None:
    await bench.trainer.workers[0].start()
    job = await bench.create(suffix="bird/s", metadata={"a": "1"}, training="lora", lora_r=8)
    assert job.status in ("queued", "running")
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (8, 1)
    ended = await bench.until(job.id, "succeeded", "failed")
    assert (ended.status, ended.trained_tokens) == ("succeeded", 960)
    assert ended.fine_tuned_model == f"ft:{BASE}:local:bird-s:{job.id[-12:]}"
    told = await bench.told(job.id)
    assert told[:2] == [f"Created fine-tuning job: {job.id}", "Fine-tuning job started"]
    assert told[-2:] == [
        f"New fine-tuned model created: {ended.fine_tuned_model}",
        "The job has successfully completed.",
    ]
    assert await bench.steps(job.id) == list(range(1, 97))
    kept = [row async for row in bench.client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert [row.step_number for row in kept] == [96, 95]
    assert kept[0].fine_tuned_model_checkpoint == ended.fine_tuned_model
    names = {model.id: model async for model in bench.client.models.list()}
    assert names[str(ended.fine_tuned_model)].owned_by == "local"
    base = names[BASE].model_dump()
    assert (base["licence"], base["parameters"]) == ("apache-2.0", 360_000)
    await until(
        lambda: bench.client.models.retrieve(BASE), lambda base: bool(base.model_dump()["seconds_per_million_tokens"])
    )
    csv = await bench.client.files.content(ended.result_files[0])
    assert len(csv.content) > 100
    assert (await bench.client.models.delete(str(ended.fine_tuned_model))).deleted
    with pytest.raises(openai.NotFoundError):
        await bench.client.models.retrieve(str(ended.fine_tuned_model))


async def test_sentinels_say_where_the_turns_are(tmp_path: Path) -> None:
    with replicated(tmp_path / "redis", replicas=0) as servers:
        async with running_trainer(tmp_path / "trainer", servers.url) as trainer:
            bench = Bench(trainer)
            await trainer.workers[0].start()
            job = await bench.create()
            await bench.until(job.id, "succeeded")
            await bench.client.close()


async def test_ten_creates_at_once_are_one_job(bench: Bench) -> None:
    file = await bench.upload()
    mark = {"metadata": {"tunehook": "one/ftjob-1"}, "training_file": file}
    made = await asyncio.gather(*(bench.create(**mark) for _ in range(10)))
    assert len({job.id for job in made}) == 1
    with pytest.raises(openai.ConflictError):
        await bench.create(**mark, seed=5)
    keyed = [
        await bench.client.fine_tuning.jobs.create(
            model=BASE, training_file=file, extra_headers={"Idempotency-Key": "x"}
        )
        for _ in range(2)
    ]
    assert keyed[0].id == keyed[1].id != made[0].id
    await bench.trainer.stop()
    await bench.trainer.start()
    assert (await bench.create(**mark)).id == made[0].id
    assert len([job async for job in bench.client.fine_tuning.jobs.list()]) == 2


@pytest.mark.parametrize("victim", ["child", "worker", "api"])
async def test_a_killed_process_costs_no_step_twice(bench: Bench, victim: str) -> None:
    await bench.trainer.workers[0].start()
    job = await bench.create(metadata={"fake": "slow"}, hyperparameters={"n_epochs": 1, "batch_size": 1})
    await bench.at_step(job.id, 3)
    if victim == "child":
        os.kill(bench.trainer.child(job.id), signal.SIGKILL)
    elif victim == "worker":
        child = bench.trainer.child(job.id)
        await bench.trainer.workers[0].kill()
        await until(lambda: _alive(child), lambda alive: not alive)
        await bench.trainer.workers[0].start()
    else:
        await bench.trainer.stop()
        await bench.trainer.start()
    ended = await bench.until(job.id, "succeeded", "failed")
    assert ended.status == "succeeded"
    assert await bench.steps(job.id) == list(range(1, 13))
    begun = [line for line in await bench.told(job.id) if "resumed from step" in line]
    assert len(begun) == (0 if victim == "api" else 1)


async def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("fake", "code", "deaths"),
    [("die", "training_process_died", 3), ("memory", "out_of_memory", 1), ("fail", "bad_rows", 1)],
)
async def test_a_job_that_cannot_be_trained_fails_with_the_reason(
    bench: Bench, fake: str, code: str, deaths: int
) -> None:
    await bench.trainer.workers[0].start()
    job = await bench.create(metadata={"fake": fake, "checkpoints": "none"})
    ended = await bench.until(job.id, "succeeded", "failed")
    assert ended.error is not None
    assert ended.error.code == code

    async def runs() -> int:
        return len([line for line in await bench.told(job.id) if "The training process ended" in line])

    await until(runs, lambda found: found == deaths)  # its last run is told after its end
    if fake == "die":
        assert "the ghost gives up" in ended.error.message


async def test_pause_frees_the_slot_for_the_next_and_cancel_ends_within_a_step(bench: Bench) -> None:
    jobs = bench.client.fine_tuning.jobs
    await bench.trainer.workers[0].start()
    slow = {"metadata": {"fake": "slow"}, "hyperparameters": {"n_epochs": 4, "batch_size": 1}}
    first, second = await bench.create(**slow), await bench.create(**slow)
    await bench.at_step(first.id, 2)
    assert (await jobs.retrieve(second.id)).status == "queued", "one slot trains one job"
    assert str((await jobs.pause(first.id)).status) == "pausing"
    await bench.until(first.id, "paused")
    await bench.until(second.id, "running")
    await bench.at_step(second.id, 1)
    assert (await jobs.resume(first.id)).status == "queued"
    assert (await jobs.cancel(second.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        await jobs.cancel(second.id)
    await bench.until(first.id, "running")
    await bench.at_step(first.id, 4)
    assert (await jobs.cancel(first.id)).status == "cancelled"
    steps = await bench.steps(first.id)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) < 48
    assert (await bench.told(first.id))[-1] == "Fine-tuning job cancelled"
