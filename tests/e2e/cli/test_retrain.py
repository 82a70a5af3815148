"""`tunehook retrain` over a running Tunehook: 200 jobs once each, though the command is killed twice on its way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.fakes.datasets import dataset
from tests.fakes.deployment import Deployment, deployment, free_port
from tunehook.model.job import FileRef, Job, JobSpec, Stage, UpstreamJob
from tunehook.model.record import new_id
from tunehook.store.store import Store

JOBS, FILES = 200, 10
GPT = "gpt-4.1-mini-2025-04-14"
COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", "retrain", "--all"]


async def imported(town: Deployment, client: openai.AsyncOpenAI) -> None:
    """Jobs that succeeded at `openai`, as imports with their files leave them."""
    store = Store.connect(town.valkey.url)
    for n in range(FILES):
        content = dataset().replace(b"?", f" ({n})?".encode())
        file = await client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        record = await store.files.read(file.id, "p")
        for _ in range(JOBS // FILES):
            job_id = new_id("ftjob-")
            job = Job(
                id=job_id,
                project="p",
                key_id="k",
                created_at=1,
                stage=Stage.SETTLED,
                status="succeeded",
                settled_at=2,
                spec=JobSpec(model=GPT, training_file=file.id, seed=1, hyperparameters={"n_epochs": 2}),
                upstream="openai",
                upstream_job_id=f"up-{job_id}",
                training=FileRef(id=file.id, sha256=record.sha256, bytes=record.bytes),
                seen=UpstreamJob(id=f"up-{job_id}", status="succeeded", model=GPT),
            )
            change = store.jobs.submission(job).due(f"job:{job_id}", None)
            await store.commit(store.jobs.release(change, job))
    await store.close()


def command(town: Deployment, key: str, *more: str) -> subprocess.Popen[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TUNEHOOK_", "OPENAI_"))}
    environment |= {"OPENAI_BASE_URL": town.url, "OPENAI_API_KEY": key, "PYTHONUNBUFFERED": "1"}
    arguments = ["--from", "openai", "--to", "second", "--model", f"{GPT}={GPT}", *more]
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_after(process: subprocess.Popen[str], trained: int) -> None:
    told = ""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            told += line
            if re.match(rf"{trained}/", line):
                process.send_signal(signal.SIGKILL)
                return
    raise AssertionError(told)


async def created(town: Deployment) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{town.simulators['second']}/simulator/jobs") as answer,
    ):
        return len((await answer.json())["data"])


@pytest.mark.processes
@pytest.mark.timeout(300)
async def test_two_hundred_jobs_are_retrained_once_though_command_and_service_are_killed_twice(tmp_path: Path) -> None:
    simulators: dict[str, tuple[str, ...]] = {"openai": (), "second": ("--slots", "0")}
    with deployment(tmp_path / "town", simulators=simulators, TUNEHOOK_PORT=str(free_port())) as town:
        caller = await town.key("p")
        async with openai.AsyncOpenAI(base_url=town.url, api_key=caller.key) as client:
            await imported(town, client)
            dry, _ = await asyncio.to_thread(command(town, caller.key, "--dry-run").communicate)
            assert f"{JOBS} jobs: {JOBS} to train for about $" in dry
            unasked = command(town, caller.key)
            told, _ = await asyncio.to_thread(unasked.communicate)
            assert unasked.returncode == 1
            assert "Give --yes" in told
            assert await created(town) == 0
            for _ in range(2):
                await asyncio.to_thread(kill_after, command(town, caller.key, "--yes"), 60)
                town.service.kill()
                town.service.stop()
                town.service.start()  # the command waits for it
            last = command(town, caller.key, "--yes")
            told, _ = await asyncio.to_thread(last.communicate)
            assert last.returncode == 0, told
            async with asyncio.timeout(120):
                while await created(town) < JOBS:  # noqa: ASYNC110  another process' state
                    await asyncio.sleep(0.5)
            again = command(town, caller.key, "--yes")
            told, _ = await asyncio.to_thread(again.communicate)
            assert f"{JOBS} jobs: 0 to train for about $0.00, {JOBS} made before" in told
            jobs = [job.to_dict()["tunehook"] async for job in client.fine_tuning.jobs.list(limit=100)]
            made = [job["retrained_from"] for job in jobs if job["upstream"] == "second"]  # type: ignore[index]
            assert len(made) == len(set(made)) == JOBS
            assert await created(town) == JOBS
