"""The move: an account's jobs come home with their datasets and are trained again elsewhere, under kills.

Both commands are killed twice in the middle, and the service with them: each job is imported, kept and paid for once.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import openai

from tests.chaos.faults import Run
from tests.chaos.report import Report
from tests.fakes.datasets import dataset
from tests.fakes.deployment import Caller, Deployment, deployment
from tests.fakes.forked import command
from tests.fakes.ports import free_port

GPT = "gpt-4.1-mini-2025-04-14"
COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())"]
IMPORT = ["import", "--upstream", "openai", "--all", "--with-datasets"]
RETRAIN = ["retrain", "--all", "--from", "openai", "--to", "second", "--model", f"{GPT}={GPT}", "--yes"]
#: Seconds until the simulators have what the commands asked for.
DONE = 300.0


async def made_elsewhere(root: str, count: int, *, every_failing: int = 0) -> list[str]:
    """Jobs at the simulator with a dataset each, made without Tunehook. Returns their ids there.

    `every_failing`: each job of that number fails; 0: none.
    """
    limit = asyncio.Semaphore(8)

    async def _make(client: openai.AsyncOpenAI, number: int) -> str:
        example = {"messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "!"}]}
        content = dataset() + json.dumps(example).encode() + b"\n"
        metadata = {"simulate": "fail"} if every_failing and number % every_failing == 0 else {}
        async with limit:
            file = await client.files.create(file=(f"{number}.jsonl", content), purpose="fine-tune")
            job = await client.fine_tuning.jobs.create(model=GPT, training_file=file.id, seed=number, metadata=metadata)
        return job.id

    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere", max_retries=0) as client:
        return await asyncio.gather(*(_make(client, number) for number in range(count)))


def _environment(town: Deployment, caller: Caller) -> dict[str, str]:
    """What a person has set who knows this deployment's address and key."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("TUNEHOOK_", "OPENAI_"))}
    return kept | {"OPENAI_BASE_URL": town.url, "OPENAI_API_KEY": caller.key, "PYTHONUNBUFFERED": "1"}


def finished(town: Deployment, caller: Caller, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a `tunehook` command to its end."""
    return command(*arguments, environment=_environment(town, caller), seconds=DONE)


def killed(town: Deployment, caller: Caller, arguments: list[str], after: int) -> None:
    """Runs a command, and kills it and the service once it said that so many jobs are through."""
    told = ""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env=_environment(town, caller),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told += line
            if (done := re.match(r"(?:jobs )?(\d+)/\d", line)) and int(done[1]) >= after:
                process.kill()
                break
        else:
            raise AssertionError(f"it ended before it was killed:\n{told}")
    town.service.kill()
    town.service.stop()
    town.service.start()


async def listed(town: Deployment, caller: Caller, path: str) -> list[dict[str, Any]]:
    """Returns all rows of one of the service's lists, page by page."""
    found: list[dict[str, Any]] = []
    after = ""
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {caller.key}"}) as session:
        while True:
            async with session.get(f"{town.url}{path}&limit=100{after}") as answer:
                page = await answer.json()
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&after={found[-1]['id']}"


async def _created(town: Deployment) -> int:
    url = f"{town.simulators['second']}/simulator/jobs"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return len((await answer.json())["data"])


async def _import(town: Deployment, caller: Caller, there: list[str], report: Report) -> None:
    jobs = len(there)
    for share in (0.3, 0.6):
        await asyncio.to_thread(killed, town, caller, IMPORT, int(jobs * share))
    last = await asyncio.to_thread(finished, town, caller, *IMPORT)
    if last.returncode or f"{jobs} datasets kept" not in last.stdout:
        report.broken.append(f"the import said {last}")
    here = await listed(town, caller, "/fine_tuning/jobs?")
    files = {file["id"] for file in await listed(town, caller, "/files?purpose=fine-tune")}
    if sorted(job["tunehook"]["upstream_job_id"] for job in here) != sorted(there):
        report.broken.append(f"{len(here)} jobs are here of {jobs}")
    if len(files) != jobs or {job["training_file"] for job in here} != files:
        report.broken.append(f"{len(files)} files are here of {jobs}")
    again = await asyncio.to_thread(finished, town, caller, *IMPORT)
    if again.stdout != f"0 jobs imported, {jobs} were here, {jobs} datasets kept\n":
        report.broken.append(f"another import said {again}")


async def _retrain(town: Deployment, caller: Caller, jobs: int, report: Report) -> None:
    for _ in range(2):
        await asyncio.to_thread(killed, town, caller, RETRAIN, int(jobs * 0.3))
    last = await asyncio.to_thread(finished, town, caller, *RETRAIN)
    if last.returncode:
        report.broken.append(f"the retrain said {last}")
    async with asyncio.timeout(DONE):
        while await _created(town) < jobs:  # noqa: ASYNC110  another process' state
            await asyncio.sleep(0.5)
    again = await asyncio.to_thread(finished, town, caller, *RETRAIN)
    if f"{jobs} jobs: 0 to train for about $0.00, {jobs} made before" not in again.stdout:
        report.broken.append(f"another retrain said {again}")
    made = [job["tunehook"]["retrained_from"] for job in await listed(town, caller, "/fine_tuning/jobs?")]
    made = [source for source in made if source]
    if not len(made) == len(set(made)) == await _created(town) == jobs:
        report.broken.append(f"{len(made)} retrains of {len(set(made))} jobs, {await _created(town)} creates")


async def move(directory: Path, *, jobs: int) -> Report:
    """Moves so many jobs of `openai` to another upstream. Each command and the service are killed twice."""
    report = Report(f"{jobs} jobs imported with their datasets and retrained, under kills", "moving")
    began = time.monotonic()
    simulators = {"openai": ("--slots", "0", "--speed", "100000"), "second": ("--slots", "0")}
    # Nothing here waits for a poll.
    settings = {"TUNEHOOK_WORKERS": "4", "TUNEHOOK_POLL_SECONDS": "60", "TUNEHOOK_PORT": str(free_port())}
    with deployment(directory, simulators=simulators, all_names=False, **settings) as town:
        there = await made_elsewhere(town.simulators["openai"], jobs)
        caller = await town.key("home")
        report.add([Run(number, "moved") for number in range(jobs)])
        await _import(town, caller, there, report)
        imported = time.monotonic() - began
        await _retrain(town, caller, jobs, report)
        report.logs = town.worker.said() if report.broken else ""
    report.seconds = time.monotonic() - began
    report.notes.append(f"Imported with their datasets after {imported:.0f} s; command and service were killed twice.")
    report.notes.append(f"Retrained after {report.seconds:.0f} s; command and service were killed twice more.")
    return report
