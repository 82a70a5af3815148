"""`tunehook import --all`: what it shows, and what could not be had. tests/chaos/moving.py kills it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from cli.valkey_process import connect
from tests.chaos.moving import finished, listed, made_elsewhere
from tests.e2e.cli.test_commands import COMMAND, _environment
from tests.fakes.deployment import Caller, Deployment, deployment
from tunehook.model.member import import_member
from tunehook.store.engine import keys

pytestmark = pytest.mark.processes
JOBS = 10


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    options = ("--slots", "0", "--speed", "100000")
    directory = tmp_path_factory.mktemp("town")
    with deployment(
        directory, simulators={"openai": options}, TUNEHOOK_WORKERS="4", TUNEHOOK_POLL_SECONDS="60"
    ) as found:
        yield found


def _run(town: Deployment, caller: Caller, *options: str) -> subprocess.CompletedProcess[str]:
    return finished(town, caller, "import", "--upstream", "openai", "--all", *options)


async def test_a_dry_run_shows_every_job_and_changes_nothing(town: Deployment) -> None:
    there = await made_elsewhere(town.simulators["openai"], JOBS, every_failing=5)
    caller = await town.key("home")
    shown = _run(town, caller, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert f"{JOBS} of {JOBS} jobs would be imported. Nothing was changed." in shown.stdout
    assert len(re.findall(r" failed +gpt", shown.stdout)) == JOBS / 5
    assert await listed(town, caller, "/fine_tuning/jobs?") == []
    with connect(town.valkey.url) as redis:  # a service that was killed in the middle leaves its lease
        redis.set(keys.lease(import_member("openai", there[0])), "another's", px=12_000)
    done = _run(town, caller)
    assert (done.returncode, done.stdout) == (0, f"{JOBS} jobs imported, 0 were here\n")
    jobs = await listed(town, caller, "/fine_tuning/jobs?")
    assert sorted(job["tunehook"]["upstream_job_id"] for job in jobs) == sorted(there)


async def test_what_cannot_be_had_is_in_a_table(town: Deployment) -> None:
    """Another project has most jobs by now: they are not even shown. Of the others one has lost its file."""
    root = town.simulators["openai"]
    kept, lost = await made_elsewhere(root, 2)
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere", max_retries=0) as client:
        job = await client.fine_tuning.jobs.retrieve(lost)
        await client.files.delete(job.training_file)
    caller = await town.key("second")
    done = _run(town, caller, "--with-datasets")
    assert done.returncode == 1
    assert "2 jobs imported, 0 were here, 1 datasets kept" in done.stdout
    assert re.search(rf"{lost} +dataset +training file: No such File object", done.stdout)
    assert kept not in done.stdout
    again = _run(town, caller)
    assert (again.returncode, again.stdout) == (0, "0 jobs imported, 2 were here\n")


def test_a_key_or_an_address_that_is_missing_is_said_in_words(town: Deployment, tmp_path: Path) -> None:
    command = [*COMMAND, "import", "--upstream", "openai", "--all"]
    bare = subprocess.run(command, env=_environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert (bare.returncode, "No API key of Tunehook" in bare.stderr) == (4, True)
    wrong = [*command, "--url", town.url, "--key", "th_abcdef_" + "x" * 43]
    refused = subprocess.run(wrong, env=_environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert refused.returncode == 4
    assert refused.stderr.startswith("tunehook: Incorrect API key provided")
