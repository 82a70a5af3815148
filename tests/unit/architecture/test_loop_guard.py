"""The guard against blocking calls sees one: otherwise the tests under it would prove nothing."""

import asyncio
from pathlib import Path

import pytest
from blockbuster import BlockingError

from tests.fakes.loop_guard import nothing_blocks
from tunehook.files.storage import Storage
from tunehook.jobs.copy_transfer import read_part


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part"
    path.write_bytes(b"abc")
    return path


async def test_a_blocking_call_of_ours_on_the_loop_is_an_error(part: Path) -> None:
    with nothing_blocks():
        with pytest.raises(BlockingError):
            read_part(part, 0)
        assert await asyncio.to_thread(read_part, part, 0) == b"abc"


class _Marks:
    async def storage_mark(self) -> tuple[str, bool]:
        return "a", True

    async def storage_marked(self, mark: str) -> None:
        assert mark == "a"


async def test_work_in_threads_is_no_blocking_call(tmp_path: Path) -> None:
    with nothing_blocks():
        storage = Storage(tmp_path, _Marks())
        await storage.save("file-1", b"content")
        assert await storage.exists("file-1")
        await storage.remove("file-1")
