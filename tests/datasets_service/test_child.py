"""The process that reads datasets: one question at a time, whatever becomes of who asks or of itself."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.lines import good, jsonl
from tunehook.allow_list import AllowList
from tunehook.child import Child
from tunehook.dataset_child import CHUNK
from tunehook.errors import DatasetUnread
from tunehook.inspection import HERE, STEP, Inspector
from tunehook.shelf import Shelf
from tunehook.store import Store
from tunehook.vault import Vault
from tunehook.world import World


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(*(good(n) for n in range(20))))
    return path


def counting(path: Path, model: str = "gpt-4o") -> dict[str, Any]:
    return {"do": "count", "path": str(path), "format": "chat", "model": model}


async def test_answers_go_to_who_asked_also_when_another_gave_up(dataset: Path) -> None:
    child = Child()
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
    child = Child()
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
    child = Child()
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

    child = Child()
    try:
        total = (await child.ask(counting(dataset)))["total"]
        child.patience = patience
        counted, _ = await asyncio.gather(child.ask(counting(pipe)), asyncio.to_thread(write_slowly))
        assert counted["total"] > total
    finally:
        await child.close()


async def test_a_file_is_followed_while_it_grows(dataset: Path) -> None:
    digests, whole = dataset.with_name("digests"), (await asyncio.to_thread(dataset.stat)).st_size
    child = Child()
    try:
        for upto in (100, 101, whole // 2):
            assert await child.ask({"do": "follow", "path": str(dataset), "upto": upto}) == {}
        report = await child.ask({"do": "report", "path": str(dataset), "upto": whole, "digests": str(digests)})
        assert (report["examples"], report["size"], report["ok"]) == (20, whole, True)
        assert len(await asyncio.to_thread(digests.read_bytes)) == 8 * 20
    finally:
        await child.close()


async def test_one_project_with_many_questions_does_not_hold_up_another(dataset: Path) -> None:
    child, answered = Child(), list[str]()

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


class Listening(Child):
    """Remembers whose questions were answered, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: list[str] = []

    async def ask(self, question: dict[str, Any], project: str = "") -> dict[str, Any]:
        answer = await super().ask(question, project)
        self.answered.append(project)
        return answer


async def test_between_the_pieces_of_a_large_file_others_have_their_turn(dataset: Path) -> None:
    """And what is given up is read no further."""
    child, block = Listening(), await asyncio.to_thread(dataset.read_bytes) * 400
    world = World(
        store=Store.connect("redis://127.0.0.1:9/0"),
        shelf=Shelf(dataset.parent),
        vault=Vault(None),
        upstreams={},
        allow=AllowList.parse(""),
        reader=child,
    )
    large, other, left = (dataset.with_name(name) for name in ("large", "other", "left"))
    files = {large: block * (10 * STEP // len(block)), other: block * (HERE // len(block) + 1)}
    files[left] = files[large]
    inspectors = {path: Inspector(world, path.name) for path in files}
    try:
        for path, content in files.items():
            await asyncio.to_thread(path.write_bytes, content)
            inspectors[path].wrote(path, len(content))
        await asyncio.sleep(0)
        await inspectors[left].give_up(left)
        reports = await asyncio.gather(*(inspectors[path].report(path) for path in (large, other)))
    finally:
        await child.close()
        await world.store.close()
    assert [report.size for report in reports] == [len(files[large]), len(files[other])]
    assert (reports[0].examples, reports[0].errors) == (files[large].count(b"\n"), 0)
    assert child.answered.count("large") > 9
    assert child.answered.index("other") < 5
    assert child.answered.count("left") <= 2, "one piece, and that it is given up"
