"""`tunehook retrain` over a running Tunehook: what it shows and asks. tests/chaos/moving.py kills it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.fakes.datasets import dataset
from tests.fakes.deployment import Deployment, deployment
from tunehook.model.job import FileRef, Job, JobSpec, Stage, UpstreamJob
from tunehook.model.record import new_id
from tunehook.store.store import Store

JOBS, FILES = 6, 2
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


async def created(town: Deployment) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{town.simulators['second']}/simulator/jobs") as answer,
    ):
        return len((await answer.json())["data"])


@pytest.mark.processes
@pytest.mark.timeout(300)
async def test_the_command_shows_what_it_costs_and_asks_before_it_trains(tmp_path: Path) -> None:
    simulators: dict[str, tuple[str, ...]] = {"openai": (), "second": ("--slots", "0")}
    with deployment(tmp_path / "town", simulators=simulators, all_names=False) as town:
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
            done, _ = await asyncio.to_thread(command(town, caller.key, "--yes").communicate)
            assert re.search(rf"^{JOBS}/{JOBS}", done, re.MULTILINE), done
