"""What every place keeps to: a directory, and a bucket (obstore's own in memory and on a disk)."""

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from tests.fakes.ports import free_port
from tunehook.errors import DataDirUnavailable
from tunehook.files.directory import FLUSHED_BYTES, Directory, DirectoryWriter
from tunehook.files.object_store import PART_BYTES, ObjectStore, in_words
from tunehook.files.place import MARK, Entry, Place
from tunehook.files.storage import Storage, open_place

KINDS: dict[str, Callable[[Path], Place]] = {
    "directory": Directory,
    "bucket in memory": lambda path: ObjectStore("memory://", MemoryStore()),
    "bucket on a disk": lambda path: ObjectStore(str(path), LocalStore(path)),
}
#: More than one part of an object.
LARGE = os.urandom(PART_BYTES + 5_000)


class Marks:
    """A Redis' mark."""

    def __init__(self, mark: str = "mine", is_new: bool = True) -> None:
        self.mark, self.is_new = mark, is_new

    async def storage_mark(self) -> tuple[str, bool]:
        return self.mark, self.is_new

    async def storage_marked(self, mark: str) -> None:
        self.is_new = False


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return KINDS[request.param](tmp_path)


@pytest.fixture
def storage(place: Place) -> Storage:
    return Storage(place, Marks())


async def names(place: Place) -> list[str]:
    return [entry.name for folder in ("files", "reports", "uploads") for entry in await listed(place, folder)]


async def listed(place: Place, folder: str) -> list[Entry]:
    return [entry async for entry in place.entries(folder)]


@pytest.mark.parametrize("content", [b"", b"abc", LARGE], ids=["empty", "small", "large"])
async def test_a_file_is_there_whole_once_it_is_kept(storage: Storage, content: bytes) -> None:
    incoming = storage.receive("file-1")
    await incoming.open(len(content))
    for start in range(0, len(content), 700_000):
        await incoming.write(content[start : start + 700_000])
    assert await incoming.hashed() == hashlib.sha256(content).hexdigest()
    assert (await storage.exists("file-1"), await storage.file_ids()) == (False, set())
    await incoming.keep()
    await incoming.close()
    blob = await storage.open("file-1")
    assert blob.size == len(content)
    assert b"".join([piece async for piece in blob.chunks()]) == content
    assert await blob.piece(max(0, len(content) - 1), 100) == content[-1:]
    assert await storage.file_ids() == {"file-1"}
    await storage.remove("file-1")
    await storage.remove("file-1")
    assert not await storage.exists("file-1")


@pytest.mark.parametrize("content", [b"abc", LARGE], ids=["small", "large"])
async def test_a_file_that_breaks_off_leaves_nothing(storage: Storage, content: bytes) -> None:
    incoming = storage.receive("file-1")
    await incoming.open()
    await incoming.write(content)
    await incoming.write(content)
    await incoming.close()
    await incoming.close()
    assert await names(storage.place) == []
    with pytest.raises(FileNotFoundError):
        await storage.open("file-1")


@pytest.mark.parametrize("content", [b"abc", LARGE], ids=["small", "large"])
async def test_a_file_that_is_there_is_not_replaced(storage: Storage, content: bytes) -> None:
    await storage.save("file-1", b"first")
    incoming = storage.receive("file-1")
    await incoming.open()
    await incoming.write(content)
    with pytest.raises(DataDirUnavailable):
        await incoming.keep()
    await incoming.close()
    assert await (await storage.open("file-1")).piece(0, 100) == b"first"
    await storage.save("file-1", b"second")  # a result file may be fetched again
    assert await (await storage.open("file-1")).piece(0, 100) == b"second"


async def test_of_two_that_mark_a_place_one_wins(place: Place) -> None:
    won = await asyncio.gather(*(place.put_new(MARK, f"{number}".encode()) for number in range(4)))
    if not isinstance(place, Directory):
        assert won.count(True) == 1
    assert (await place.piece(MARK, 0, 10)).decode() in "0123"
    if not place.can_vanish:
        assert await place.put_new(MARK, await place.piece(MARK, 0, 10)), "its own write, repeated"


async def test_a_place_of_another_redis_is_refused_and_says_nothing(place: Place) -> None:
    await Storage(place, Marks("other")).save("file-1", b"theirs")
    for marks in (Marks("mine"), Marks("mine", is_new=False)):
        ours = Storage(place, marks)
        for attempt in (ours.exists("file-1"), ours.save("file-2", b"x"), ours.remove("file-1"), ours.file_ids()):
            with pytest.raises(DataDirUnavailable) as refused:
                await attempt
            assert "belongs to another Redis" in refused.value.detail
    assert await names(place) == ["files/file-1"]


async def test_a_place_that_was_emptied_says_nothing_of_files(storage: Storage) -> None:
    await storage.save("file-1", b"x")
    await storage.place.remove("files/file-1")
    await storage.place.remove(MARK)
    with pytest.raises(DataDirUnavailable):
        await storage.exists("file-1")


async def test_a_file_that_was_seen_is_looked_for_again_once_the_mark_is_asked_for(storage: Storage) -> None:
    await storage.save("file-1", b"x")
    assert await storage.exists("file-1")
    await storage.place.remove(MARK)
    assert await storage.exists("file-1", within=60)
    storage.forget_mark()
    with pytest.raises(DataDirUnavailable):
        await storage.exists("file-1", within=60)


async def test_a_bucket_that_does_not_answer_is_no_end_of_a_file() -> None:
    away = S3Store(
        "orange",
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="eu-1",
        access_key_id="key",
        secret_access_key="secret",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    for name in ("files/file-a416", "files/file-a"):
        with pytest.raises(DataDirUnavailable):
            await ObjectStore("s3://orange", away).piece(name, 0, 10)


async def test_parts_and_what_is_old_are_swept(storage: Storage) -> None:
    parts = storage.parts("upload_1")
    await parts.save("part_1", b"abc")
    await storage.parts("upload_2").save("part_2", b"abc")
    assert await parts.exists("part_1")
    await parts.clear()
    await parts.clear()
    assert await names(storage.place) == ["uploads/upload_2/part_2"]
    assert await storage.sweep(3600) == 0
    assert await storage.sweep(-3600) == 1
    assert await names(storage.place) == []


async def test_half_written_files_are_swept(tmp_path: Path) -> None:
    storage = Storage(Directory(tmp_path), Marks())
    await storage.save("file-1", b"abc")
    for folder in (tmp_path, tmp_path / "files"):
        (folder / ".incoming-of-a-killed-process").touch()
    assert await storage.sweep(3600) == 0
    assert await storage.sweep(-3600) == 2
    assert await storage.file_ids() == {"file-1"}


class _Watched(DirectoryWriter):
    """Notes how long the file was at each flush."""

    def __init__(self, directory: Directory, name: str) -> None:
        super().__init__(directory, name)
        self.lengths: list[int] = []

    def flush(self, handle: int) -> None:
        self.lengths.append(os.fstat(handle).st_size)
        super().flush(handle)


async def test_no_flush_has_more_to_write_than_its_share(tmp_path: Path) -> None:
    """A Redis whose log lies on the same disk answers nobody while its commit waits for a flush of ours."""
    writer = _Watched(Directory(tmp_path), "files/file-a")
    await writer.open()
    block = bytes(3 * 1024 * 1024)
    for _ in range(20):
        await writer.write(block)
    await writer.keep()
    await writer.close()
    lengths = [0, *writer.lengths]
    assert lengths[-1] == 20 * len(block)
    # The file grows while it is flushed, until the next flush.
    assert max(after - before for before, after in pairwise(lengths)) <= 2 * (FLUSHED_BYTES + len(block))


class _FailsOnce(_Watched):
    """The kernel tells a lost write to one flush, and to none after it."""

    def flush(self, handle: int) -> None:
        super().flush(handle)
        if len(self.lengths) == 1:
            raise OSError(errno.EIO, "Input/output error")


async def test_a_flush_that_fails_beside_a_write_refuses_the_file(tmp_path: Path) -> None:
    writer = _FailsOnce(Directory(tmp_path), "files/file-a")
    await writer.open()
    await writer.write(bytes(FLUSHED_BYTES))
    with pytest.raises(DataDirUnavailable, match="Input/output error"):
        await writer.keep()
    await writer.close()
    assert await asyncio.to_thread(os.listdir, tmp_path / "files") == []


async def test_entries_say_bytes_and_time(storage: Storage) -> None:
    await storage.save("file-b", b"12345")
    await storage.save("file-a", b"1")
    found = [entry async for entry in storage.place.entries("files")]
    assert [(entry.name, entry.bytes) for entry in found] == [("files/file-a", 1), ("files/file-b", 5)]
    assert all(abs(entry.modified - time.time()) < 3600 for entry in found)


def test_a_url_names_the_place(tmp_path: Path) -> None:
    assert open_place("", tmp_path).label == str(tmp_path)
    assert open_place(f"file://{tmp_path}/a%20b", Path()).label == f"{tmp_path}/a b"


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("<Code>NoSuchBucket</Code><Message>The bucket does not exist</Message>", "Create it"),
        ("<Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message>", "clock of this machine"),
        ("<Code>SignatureDoesNotMatch</Code>", "AWS_SECRET_ACCESS_KEY"),
        ("error sending request for url (http://169.254.169.254/latest/api/token)", "no credentials are set"),
    ],
)
def test_a_refusal_says_what_to_do(answer: str, advice: str) -> None:
    words = in_words(OSError(f"{answer}\n\nDebug source:\nuri: canary"))
    assert advice in words
    assert "canary" not in words
