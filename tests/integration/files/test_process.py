"""The process that reads datasets: one question at a time, whatever becomes of who asks or of itself."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataset.lines import good, jsonl
from tunehook.dataset.__main__ import CHUNK
from tunehook.dataset.process import DatasetProcess
from tunehook.errors import DatasetUnread

pytestmark = pytest.mark.processes


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(*(good(n) for n in range(20))))
    return path


def counting(path: Path, model: str = "gpt-4o") -> dict[str, Any]:
    return {"do": "count", "path": str(path), "format": "chat", "model": model}


async def test_answers_go_to_who_asked_also_when_another_gave_up(dataset: Path) -> None:
    child = DatasetProcess()
    try:
        first = asyncio.create_task(child.ask(counting(dataset)))
        second = asyncio.create_task(child.ask(counting(dataset, "gpt-3.5-turbo")))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(DatasetUnread, match="No such file"):
            await child.ask(counting(dataset.with_name("gone.jsonl")))
        assert (await second)["total"] == (await child.ask(counting(dataset, "gpt-4")))["total"]
        assert (await child.ask(counting(dataset)))["total"] != 0
    finally:
        await child.close()


async def test_who_waits_when_it_is_closed_hears_of_it(dataset: Path) -> None:
    child = DatasetProcess()
    assert await child.ask(counting(dataset))
    waiting = asyncio.create_task(child.ask(counting(dataset)))
    await asyncio.sleep(0)
    await child.close()
    with pytest.raises(DatasetUnread, match=r"ended with|stopping"):
        await waiting
    with pytest.raises(DatasetUnread, match="stopping"):
        await child.ask(counting(dataset))


async def test_a_child_that_hangs_holds_up_nobody_for_ever(dataset: Path) -> None:
    """A pipe that nobody writes to: opening it never ends."""
    pipe = dataset.with_name("pipe")
    os.mkfifo(pipe)
    child = DatasetProcess()
    try:
        total = (await child.ask(counting(dataset)))["total"]
        child.patience = 0.2
        with pytest.raises(DatasetUnread, match="ended with -9"):
            await child.ask(counting(pipe))
        child.patience = 60
        assert (await child.ask(counting(dataset)))["total"] == total
    finally:
        await child.close()


async def test_a_child_that_reads_for_long_is_not_taken_for_one_that_hangs(dataset: Path) -> None:
    pipe, patience = dataset.with_name("pipe"), 2.0
    os.mkfifo(pipe)
    line = jsonl(good(1))

    def write_slowly() -> None:
        with pipe.open("wb") as out:
            until = time.monotonic() + 2 * patience
            while time.monotonic() < until:
                out.write(line * (CHUNK // len(line) + 1))
                out.flush()
                time.sleep(0.1)

    child = DatasetProcess()
    try:
        total = (await child.ask(counting(dataset)))["total"]
        child.patience = patience
        counted, _ = await asyncio.gather(child.ask(counting(pipe)), asyncio.to_thread(write_slowly))
        assert counted["total"] > total
    finally:
        await child.close()


async def test_a_file_is_checked_and_its_digests_are_written_beside_it(dataset: Path) -> None:
    digests, whole = dataset.with_name("digests"), (await asyncio.to_thread(dataset.stat)).st_size
    child = DatasetProcess()
    try:
        report = await child.ask({"do": "check", "path": str(dataset), "digests": str(digests)})
        assert (report["examples"], report["size"], report["ok"]) == (20, whole, True)
        assert len(await asyncio.to_thread(digests.read_bytes)) == 8 * 20
    finally:
        await child.close()


async def test_one_project_with_many_questions_does_not_hold_up_another(dataset: Path) -> None:
    child, answered = DatasetProcess(), list[str]()

    async def ask(project: str) -> None:
        await child.ask(counting(dataset), project)
        answered.append(project)

    try:
        many = [asyncio.create_task(ask("many")) for _ in range(10)]
        await asyncio.sleep(0)
        await asyncio.gather(ask("one"), *many)
    finally:
        await child.close()
    assert answered.index("one") <= 2


async def test_the_child_that_reads_strangers_bytes_has_no_secret(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "TUNEHOOK_SECRET_KEY", "REDIS_URL", "TUNEHOOK_UPSTREAMS__X__API_KEY", "NEW_TOKEN"):
        monkeypatch.setenv(name, "sk-of-the-parent")
    child = DatasetProcess()
    try:
        await child.ask(counting(dataset))
        assert child._process is not None
        inherited = await asyncio.to_thread(Path(f"/proc/{child._process.pid}/environ").read_text)
        assert "sk-of-the-parent" not in inherited
        assert "PATH=" in inherited
    finally:
        await child.close()
