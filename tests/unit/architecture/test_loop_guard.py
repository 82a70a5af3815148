"""The guard against blocking calls sees one: otherwise the tests under it would prove nothing."""

import asyncio
import os
from pathlib import Path

import pytest
from blockbuster import BlockingError

from tests.fakes.loop_guard import nothing_blocks
from tunehook.files.directory import Directory
from tunehook.files.storage import Storage


async def test_a_blocking_call_of_ours_on_the_loop_is_an_error(tmp_path: Path) -> None:
    with nothing_blocks():
        with pytest.raises(BlockingError):
            Directory(tmp_path).open_aside("files/file-1")
        handle, _ = await asyncio.to_thread(Directory(tmp_path).open_aside, "files/file-1")
        os.close(handle)


class _Marks:
    async def storage_mark(self) -> tuple[str, bool]:
        return "a", True

    async def storage_marked(self, mark: str) -> None:
        assert mark == "a"


async def test_work_in_threads_is_no_blocking_call(tmp_path: Path) -> None:
    with nothing_blocks():
        storage = Storage(Directory(tmp_path), _Marks())
        await storage.save("file-1", b"content")
        assert await storage.exists("file-1")
        await storage.remove("file-1")
