"""The process that reads datasets: one question at a time, whatever becomes of who asks or of itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.dataset.lines import good, jsonl
from tunehook.dataset.process import DatasetProcess
from tunehook.errors import DataDirUnavailable, DatasetUnread

pytestmark = pytest.mark.processes


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(*(good(n) for n in range(20))))
    return path


async def pieces(path: Path) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(path.read_bytes)


async def count(
    child: DatasetProcess, source: Path | AsyncIterator[bytes], model: str = "gpt-4o", project: str = ""
) -> int:
    """Returns the tokens of a file."""
    chunks = pieces(source) if isinstance(source, Path) else source
    found, _ = await child.ask({"do": "count", "format": "chat", "model": model}, chunks, project)
    return int(found["total"])


async def test_answers_go_to_who_asked_also_when_another_gave_up(dataset: Path) -> None:
    child = DatasetProcess()
    try:
        first = asyncio.create_task(count(child, dataset))
        second = asyncio.create_task(count(child, dataset, "gpt-3.5-turbo"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(DatasetUnread, match="its content is not here"):
            await count(child, dataset.with_name("gone.jsonl"))
        assert await second == await count(child, dataset, "gpt-4")
        assert await count(child, dataset) != 0
    finally:
        await child.close()


async def test_who_waits_when_it_is_closed_hears_of_it(dataset: Path) -> None:
    child = DatasetProcess()
    assert await count(child, dataset)
    waiting = asyncio.create_task(count(child, dataset))
    await asyncio.sleep(0)
    await child.close()
    with pytest.raises(DatasetUnread, match=r"ended with|stopping"):
        await waiting
    with pytest.raises(DatasetUnread, match="stopping"):
        await count(child, dataset)


async def test_a_child_that_hangs_holds_up_nobody_for_ever(dataset: Path) -> None:
    child = DatasetProcess()
    try:
        total = await count(child, dataset)
        assert child._process is not None
        os.kill(child._process.pid, signal.SIGSTOP)
        child.patience = 0.2
        with pytest.raises(DatasetUnread, match="ended with -9"):
            await count(child, dataset)
        child.patience = 60
        assert await count(child, dataset) == total
    finally:
        await child.close()


async def test_a_file_that_comes_slowly_is_not_taken_for_a_child_that_hangs(dataset: Path) -> None:
    line, patience = jsonl(good(1)), 2.0

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield line * 3000
            await asyncio.sleep(patience * 0.6)

    child = DatasetProcess()
    try:
        total = await count(child, dataset)
        child.patience = patience
        assert await count(child, slowly()) > total
    finally:
        await child.close()


async def test_a_file_that_breaks_off_has_no_answer_and_the_next_question_its_own(dataset: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield jsonl(good(1))
        raise DataDirUnavailable(why="the disk is gone")

    child = DatasetProcess()
    try:
        total = await count(child, dataset)
        process = child._process
        for _ in range(3):
            with pytest.raises(DataDirUnavailable, match="the disk is gone"):
                await count(child, broken())
        assert await count(child, dataset) == total
        assert child._process is process
    finally:
        await child.close()


async def test_a_file_is_checked_and_its_digests_come_after_the_answer(dataset: Path) -> None:
    whole = (await asyncio.to_thread(dataset.stat)).st_size
    child = DatasetProcess()
    try:
        report, digests = await child.ask({"do": "check"}, pieces(dataset))
        assert (report["examples"], report["size"], report["ok"]) == (20, whole, True)
        assert len(digests) == 8 * 20
    finally:
        await child.close()


async def test_one_project_with_many_questions_does_not_hold_up_another(dataset: Path) -> None:
    child, answered = DatasetProcess(), list[str]()

    async def ask(project: str) -> None:
        await count(child, dataset, project=project)
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
        await count(child, dataset)
        assert child._process is not None
        inherited = await asyncio.to_thread(Path(f"/proc/{child._process.pid}/environ").read_text)
        assert "sk-of-the-parent" not in inherited
        assert "PATH=" in inherited
    finally:
        await child.close()


async def test_a_child_that_is_killed_while_it_is_given_a_file_is_replaced(dataset: Path) -> None:
    child = DatasetProcess()

    async def _killed() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 100
            assert child._process is not None
            child._process.kill()

    try:
        with pytest.raises(DatasetUnread):
            await child.ask({"do": "check"}, _killed())
        await count(child, dataset)
    finally:
        await child.close()
