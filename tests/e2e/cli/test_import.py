"""`tunehook import --all`: a whole account comes home, once, however often the command is killed."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.e2e.cli.test_commands import COMMAND, _environment
from tests.fakes.datasets import dataset
from tests.fakes.deployment import Caller, Deployment, deployment

pytestmark = pytest.mark.processes
MODEL = "gpt-4.1-mini-2025-04-14"
JOBS = 200


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    options = ("--slots", "0", "--speed", "100000")
    with deployment(tmp_path_factory.mktemp("town"), simulators={"openai": options}, TUNEHOOK_WORKERS="4") as found:
        yield found


async def _made_elsewhere(root: str, count: int) -> list[str]:
    """Jobs at the simulator with a dataset each, made without Tunehook; every tenth fails. Their ids there."""
    limit = asyncio.Semaphore(8)

    async def _make(client: openai.AsyncOpenAI, number: int) -> str:
        example = {"messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "!"}]}
        content = dataset() + json.dumps(example).encode() + b"\n"
        async with limit:
            file = await client.files.create(file=(f"{number}.jsonl", content), purpose="fine-tune")
            metadata = {"simulate": "fail"} if number % 10 == 0 else {}
            job = await client.fine_tuning.jobs.create(
                model=MODEL, training_file=file.id, seed=number, metadata=metadata
            )
        return job.id

    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere", max_retries=0) as client:
        return await asyncio.gather(*(_make(client, number) for number in range(count)))


def _command(town: Deployment, caller: Caller, directory: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    command = [*COMMAND, "import", "--upstream", "openai", "--all", *options]
    return command, _environment(directory, OPENAI_BASE_URL=town.url, OPENAI_API_KEY=caller.key)


def _run(town: Deployment, caller: Caller, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command, environment = _command(town, caller, directory, *options)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)


def _killed(town: Deployment, caller: Caller, directory: Path, after: int) -> None:
    """Runs the command and kills it once it said that so many jobs are through."""
    command, environment = _command(town, caller, directory, "--with-datasets")
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            done = re.match(r"jobs (\d+)/", line)
            assert done, line
            if int(done[1]) >= after:
                break
        process.kill()


async def _all(town: Deployment, caller: Caller, path: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    after = ""
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {caller.key}"}) as session:
        while True:
            async with session.get(f"{town.url}{path}&limit=100{after}") as answer:
                page = await answer.json()
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&after={found[-1]['id']}"


async def test_200_jobs_come_home_once_though_the_command_is_killed_twice(town: Deployment, tmp_path: Path) -> None:
    root = town.simulators["openai"]
    there = await _made_elsewhere(root, JOBS)
    caller = await town.key("home")
    shown = _run(town, caller, tmp_path, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert f"{JOBS} of {JOBS} jobs would be imported. Nothing was changed." in shown.stdout
    assert len(re.findall(r" failed +gpt", shown.stdout)) == JOBS / 10
    assert await _all(town, caller, "/fine_tuning/jobs?") == []

    _killed(town, caller, tmp_path, after=60)
    _killed(town, caller, tmp_path, after=120)
    done = _run(town, caller, tmp_path, "--with-datasets")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{JOBS} datasets kept" in done.stdout

    jobs = await _all(town, caller, "/fine_tuning/jobs?")
    files = [file["id"] for file in await _all(town, caller, "/files?purpose=fine-tune")]
    assert sorted(str(job["tunehook"]["upstream_job_id"]) for job in jobs) == sorted(there)  # type: ignore[index]
    assert len(set(files)) == len(files) == JOBS
    assert {job["training_file"] for job in jobs} == set(files)
    assert (
        _run(town, caller, tmp_path, "--with-datasets").stdout == "0 jobs imported, 200 were here, 200 datasets kept\n"
    )


async def test_what_cannot_be_had_is_in_a_table(town: Deployment, tmp_path: Path) -> None:
    """Another project has most jobs by now: they are not even shown. Of the others one has lost its file."""
    root = town.simulators["openai"]
    kept, lost = await _made_elsewhere(root, 2)
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere", max_retries=0) as client:
        job = await client.fine_tuning.jobs.retrieve(lost)
        await client.files.delete(job.training_file)
    caller = await town.key("second")
    done = _run(town, caller, tmp_path, "--with-datasets")
    assert done.returncode == 1
    assert "2 jobs imported, 0 were here, 1 datasets kept" in done.stdout
    assert re.search(rf"{lost} +dataset +training file: No such File object", done.stdout)
    assert kept not in done.stdout
    again = _run(town, caller, tmp_path)
    assert (again.returncode, again.stdout) == (0, "0 jobs imported, 2 were here\n")


def test_a_key_or_an_address_that_is_missing_is_said_in_words(town: Deployment, tmp_path: Path) -> None:
    command = [*COMMAND, "import", "--upstream", "openai", "--all"]
    bare = subprocess.run(command, env=_environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert (bare.returncode, "No API key of Tunehook" in bare.stderr) == (1, True)
    wrong = [*command, "--url", town.url, "--key", "th_abcdef_" + "x" * 43]
    refused = subprocess.run(wrong, env=_environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr.startswith("tunehook: Incorrect API key provided")
