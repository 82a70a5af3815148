"""A rolling upgrade: the program as it is, beside one whose records are newer."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from cli.valkey_process import connect
from tests.fakes.datasets import dataset
from tests.fakes.deployment import ROOT, Caller, Deployment, Program, deployment
from tests.fakes.receiver import running_receiver
from tunehook.model.record import RECORD_VERSION

MODEL = "gpt-4.1-mini-2025-04-14"


@dataclass
class Upgrade:
    old: Deployment
    new_service: Program
    new_worker: Program
    new_url: str


def next_version(directory: Path) -> Path:
    """A copy of the program as a later one will be: another record version, and a member that this one has not."""
    for package in ("tunehook", "service", "worker", "api_spec"):
        shutil.copytree(ROOT / package, directory / package)  # with what is compiled, but for the two below
    changes = {
        "record.py": (f"RECORD_VERSION = {RECORD_VERSION}\n", f"RECORD_VERSION = {RECORD_VERSION + 1}\n"),
        "job.py": ("class Job(Record):\n", "class Job(Record):\n    of_the_next_version: bool = True\n"),
    }
    for name, (before, after) in changes.items():
        model = directory / "tunehook" / "model" / name
        compiled = Path(cache_from_source(str(model)))
        compiled.unlink(missing_ok=True)
        text = model.read_text("utf-8")
        assert text.count(before) == 1
        model.write_text(text.replace(before, after), "utf-8")
    return directory


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Upgrade]:
    root = next_version(tmp_path / "next")
    fast = {"openai": ("--speed", "900", "--slots", "0")}
    with deployment(tmp_path / "town", simulators=fast) as old:
        service = Program(["service"], old.settings, tmp_path / "new-service.log", root=root)
        worker = Program(["worker"], old.settings, tmp_path / "new-worker.log", root=root)
        try:
            for program in (service, worker):
                program.start()
            url = service.wait_for(r"listening on (http://\S+)")[1]
            worker.wait_for("processes: the ")
            yield Upgrade(old, service, worker, f"{url}/v1")
        finally:
            for program in (service, worker):
                program.stop()


async def submit(url: str, caller: Caller, hooks: str, count: int) -> set[str]:
    async with AsyncOpenAI(base_url=url, api_key=caller.key) as client:
        jobs = set()
        for _ in range(count):
            file = await client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
            job = await client.fine_tuning.jobs.create(
                training_file=file.id, model=MODEL, extra_body={"callback_url": hooks}
            )
            jobs.add(job.id)
        return jobs


def versions(town: Deployment) -> dict[str, int]:
    with connect(town.valkey.url) as client:
        names = {name.decode(): int(client.hget(name, "v") or 0) for name in client.scan_iter(match="th:job:ftjob-*")}
        assert client.zcard("th:parked") == 0
    return {name.removeprefix("th:job:"): version for name, version in names.items()}


async def test_two_versions_side_by_side_end_all_jobs_and_the_older_leaves_what_is_newer_alone(
    upgrade: Upgrade,
) -> None:
    caller = await upgrade.old.key("p")
    async with running_receiver() as receiver:
        jobs = await submit(upgrade.old.url, caller, receiver.url, 2)
        jobs |= await submit(upgrade.new_url, caller, receiver.url, 2)
        hooks = await receiver.wait(4, seconds=180)
        assert {hook.event["data"]["id"] for hook in hooks} == jobs
        assert all(hook.event["type"] == "fine_tuning.job.succeeded" for hook in hooks)

        upgrade.new_worker.stop()  # the upgrade is half done, or taken back
        left = await submit(upgrade.new_url, caller, receiver.url, 1)
        older = await submit(upgrade.old.url, caller, receiver.url, 1)
        await receiver.wait(5, seconds=180)
        await asyncio.to_thread(upgrade.old.worker.wait_for, f"left to a newer worker: {next(iter(left))}")
        assert versions(upgrade.old)[next(iter(left))] == RECORD_VERSION + 1

        upgrade.new_worker.start()
        hooks = await receiver.wait(6, seconds=180)
    assert {hook.event["data"]["id"] for hook in hooks} == jobs | left | older
    assert len({hook.id for hook in hooks}) == len(hooks) == 6
    found = versions(upgrade.old)
    assert {found[job_id] for job_id in left} == {RECORD_VERSION + 1}
    assert "Traceback" not in upgrade.old.worker.said() + upgrade.new_worker.said()
