"""`tunehook storage copy` between two directories: what it copies, keeps and removes, and when it is not final."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.main import main
from tests.fakes.deployment import SECRET_KEY
from tests.fakes.patience import eventually
from tests.fakes.valkey import valkey_server
from tunehook.files.directory import Directory
from tunehook.files.place import MARK
from tunehook.files.storage import Storage
from tunehook.model.file import File
from tunehook.store.store import Store


class Bench:
    """A deployment with two files in a directory, and another directory."""

    def __init__(self, url: str, data: Path, target: Path) -> None:
        self.url, self.data, self.target = url, data, target

    async def add(self, file_id: str, content: bytes) -> None:
        async with Store.connect(self.url, connections=1) as store:
            await Storage(Directory(self.data), store.deletion).save(file_id, content)
            file = File(
                id=file_id,
                project="p",
                filename="a.jsonl",
                purpose="fine-tune",
                bytes=len(content),
                created_at=int(time.time()),
                sha256=hashlib.sha256(content).hexdigest(),
                status="processed",
            )
            await store.files.add(file)

    async def delete(self, file_id: str) -> None:
        async with Store.connect(self.url, connections=1) as store:
            await store.files.delete(file_id, "p")
            await Storage(Directory(self.data), store.deletion).remove(file_id)

    async def copy(self, *options: str, target: Path | None = None) -> int:
        return await asyncio.to_thread(main, ["storage", "copy", str(self.data), str(target or self.target), *options])

    async def begun(self) -> bool:
        return (self.target / "files" / "file-1").exists()

    def there(self) -> list[str]:
        return sorted(path.name for path in self.target.rglob("*") if path.is_file())


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Has a Valkey of its own: any other client counts as a program that runs."""
    with valkey_server(tmp_path / "valkey") as valkey:
        monkeypatch.setenv("REDIS_URL", valkey.url)
        monkeypatch.setenv("TUNEHOOK_SECRET_KEY", SECRET_KEY)
        bench = Bench(valkey.url, tmp_path / "data", tmp_path / "target")
        for directory in (bench.data, bench.target):
            directory.mkdir()
        await bench.add("file-1", b"first")
        await bench.add("file-2", b"second")
        yield bench


async def test_files_are_copied_and_the_new_place_is_marked_while_no_program_runs(bench: Bench) -> None:
    assert await bench.copy() == 0
    assert bench.there() == [MARK, "file-1", "file-2"]


async def test_files_that_were_deleted_between_two_runs_do_not_stay_in_the_new_place(bench: Bench) -> None:
    (bench.target / "files").mkdir()
    (bench.target / "files" / "of-someone-else").touch()
    async with Store.connect(bench.url) as program:
        await program.ping()
        copying = asyncio.create_task(bench.copy())
        await eventually(bench.begun, bool, every=0.01)
    assert await copying == 1, "programs that stop meanwhile may have added files"
    assert bench.there() == ["file-1", "file-2", "of-someone-else"]
    await bench.delete("file-1")
    async with Store.connect(bench.url) as of_another_program:
        await of_another_program.ping()
        assert await bench.copy("--force") == 0
    assert bench.there() == [MARK, "file-2", "of-someone-else"]


async def test_a_damaged_file_is_not_removed_when_both_names_are_of_one_place(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.target.rmdir()
    bench.target.symlink_to(bench.data)
    (bench.data / "files" / "file-1").write_bytes(b"wrong")
    assert await bench.copy() == 1
    assert "not as their records say: files/file-1" in capsys.readouterr().err
    assert (bench.data / "files" / "file-1").read_bytes() == b"wrong"


async def test_a_directory_that_does_not_exist_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert await bench.copy(target=bench.target / "none") == 1
    assert f"{bench.target}/none does not exist" in capsys.readouterr().err
