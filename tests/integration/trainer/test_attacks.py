"""What strangers send, and what lies about in the data directory: refused or left alone, never a 500."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import openai
import pytest
from pydantic import ValidationError

from tests.fakes.trainer import ROOT, running_trainer, until
from tests.fakes.valkey import Valkey
from tests.integration.simulator.conftest import dataset
from tests.integration.trainer.conftest import Bench
from trainer import folders
from trainer.settings import Config
from trainer.store import Store
from trainer.tune.folder import Folder

STRANGE = ("..", "file-\x00", "file-" + "a" * 4000, "file-\ud800", "file-é/../x", ".", " ")


async def test_a_strange_id_is_an_unknown_one(bench: Bench) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session:
        for name in ("%00", "a" * 4000, "%2e%2e", "%2e%2e%2ffiles", "%ff"):
            for kind in ("files", "uploads", "fine_tuning/jobs", "models"):
                url = f"{bench.trainer.base_url}/{kind}/{name}" + ("/cancel" if kind == "uploads" else "")
                verb = session.post if kind == "uploads" else session.get
                async with verb(url) as answer:
                    assert answer.status in {404, 405}, (url[:80], answer.status)
        for name in STRANGE:
            async with session.post(
                f"{bench.trainer.base_url}/fine_tuning/jobs", json={"model": "tiny", "training_file": name}
            ) as answer:
                assert (answer.status, (await answer.json())["error"]["param"]) == (400, "training_file"), name[:20]
        upload = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"}
        async with session.post(f"{bench.trainer.base_url}/uploads", json=upload) as answer:
            url = f"{bench.trainer.base_url}/uploads/{(await answer.json())['id']}/complete"
        for name in STRANGE:
            async with session.post(url, json={"part_ids": [f"part-{name}"]}) as answer:
                assert answer.status == 400, name[:20]


async def test_what_others_left_in_the_data_directory_is_left_alone(bench: Bench) -> None:
    job = await bench.create()
    data = bench.trainer.config.data_dir
    await bench.trainer.stop()
    for kind in ("jobs", "files", "uploads"):
        (data / kind / ".DS_Store").write_text("x")
        (data / kind / "lost+found").mkdir()
    await bench.trainer.start()
    assert [found.id async for found in bench.client.fine_tuning.jobs.list()] == [job.id]
    assert [file.id async for file in bench.client.files.list()] == [job.training_file]


async def test_one_damaged_job_keeps_no_other_from_its_turn(bench: Bench) -> None:
    damaged = await bench.create()
    (bench.trainer.folder(damaged.id) / "result.json").write_text("[torn")
    job = await bench.create()
    await bench.trainer.workers[0].start()
    await bench.until(job.id, "succeeded")


@pytest.mark.parametrize("keys", ["one:", "one:sk-1,two: ", ":"])
def test_a_project_without_a_key_is_refused(keys: str) -> None:
    """It would be open to each request without a key."""
    with pytest.raises(ValidationError, match="must be keys"):
        Config(keys=keys)


def test_keys_of_other_alphabets_are_compared() -> None:
    found = Config(keys="one:schlüssel,zwei")
    assert [found.project_of(key) for key in ("schlüssel", "zwei", "schl", "", "\udcff")] == [
        "one",
        "default",
        None,
        None,
        None,
    ]


def test_two_servers_do_not_share_a_data_directory(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    first = Store(config)
    with pytest.raises(BlockingIOError, match="in use by another trainer"):
        Store(config)
    first.close()
    Store(config).close()


def test_a_line_torn_in_the_middle_of_the_events_costs_that_line(tmp_path: Path) -> None:
    row = {"type": "metrics", "data": {"step": 1, "total_steps": 2}}
    (tmp_path / "events.jsonl").write_text(
        f'{json.dumps(row)}\n{{"type": "met{json.dumps(row)}\n[]\n{json.dumps(row)}\n'
    )
    folder = Folder(tmp_path)
    folder.open_events()
    assert folder.metrics() == {1: row["data"]}
    model = tmp_path / "models" / "1"
    model.mkdir(parents=True)
    folder.succeed(7)
    assert (folders.read(tmp_path / "result.json") or {})["status"] == "succeeded"


async def test_a_child_whose_parent_ended_before_it_began_ends(tmp_path: Path) -> None:
    """A worker that is killed while its training process starts would leave it to train beside the next."""
    pid = tmp_path / "pid"
    child = f"import time, pathlib, os; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(99)"
    parent = (
        "import os, subprocess, sys, time\n"
        "from trainer.work import ending_with_us\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], preexec_fn=ending_with_us())\n"
        "time.sleep(99)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT)  # noqa: ASYNC220

    async def begun() -> str:
        return pid.read_text() if pid.exists() else ""

    found = int(await until(begun, bool))
    process.kill()
    process.wait()

    async def lives() -> bool:
        try:
            os.kill(found, 0)
        except ProcessLookupError:
            return False
        return True

    await until(lives, lambda alive: not alive)


def test_a_fork_whose_worker_was_killed_before_it_looked_ends(tmp_path: Path) -> None:
    """It would train beside the next worker of its slot."""
    changes = {"TUNEHOOK_TRAINER_DATA_DIR": str(tmp_path), "TUNEHOOK_TRAINER_WORKER": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", "from trainer.work import train; train('ftjob-1')"],
        cwd=ROOT,
        env={**os.environ, **changes},
        stderr=subprocess.DEVNULL,
    )
    assert ran.returncode == -signal.SIGKILL


async def test_an_upload_that_is_completed_twice_at_once_is_one_file(bench: Bench) -> None:
    """A client repeats what it had no answer to."""
    row = dataset(12)
    uploads = bench.client.uploads
    made = await uploads.create(filename="a.jsonl", purpose="fine-tune", bytes=len(row), mime_type="text/jsonl")
    part = await uploads.parts.create(made.id, data=row)
    calls = [uploads.complete(made.id, part_ids=[part.id]) for _ in range(3)]
    completed = await asyncio.gather(*calls, return_exceptions=True)
    refused = [error for error in completed if isinstance(error, BaseException)]
    assert len(refused) < 3
    assert all(isinstance(error, openai.BadRequestError) for error in refused), refused  # it came too late
    assert len([file async for file in bench.client.files.list()]) == 1


async def test_a_job_in_the_hands_of_an_orphan_is_not_started_again(valkey: Valkey, tmp_path: Path) -> None:
    """The training process ends at once where another holds the folder: that is no reason to try for ever."""
    async with running_trainer(tmp_path / "t", valkey.url, child=("/bin/true",)) as trainer:
        bench = Bench(trainer)
        job = await bench.create()
        with folders.hold(trainer.folder(job.id) / "lock") as held:
            assert held
            await trainer.workers[0].start()
            await until(lambda: bench.told(job.id), lambda told: len(told) == 1)
        await bench.client.close()
