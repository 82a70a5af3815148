"""Storage: the bytes of files, in the data directory. A dataset never passes through Redis.

files/<file id>                  the bytes of a file
uploads/<upload id>/<part id>    the parts of an upload, until they are joined
reports/<file id>.json           what the check found; removed with the file
.store                           the mark of the Redis that the directory belongs to
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from tunehook.errors import DataDirUnavailable
from tunehook.files.reports import Reports

CHUNK = 1024 * 1024
INCOMING = ".incoming-"
#: So long is a file that was there taken to be there: each look is a thread's, and costs more than the commit.
SEEN_SECONDS = 1.0
#: Bytes that a file needs beside its own: its report and its directory entries.
BESIDE = 64 * 1024
P = ParamSpec("P")
T = TypeVar("T")


class Marks(Protocol):
    """Knows the mark of the data directory that belongs to a Redis (store/deletion.py)."""

    async def storage_mark(self) -> tuple[str, bool]:
        """Returns the mark, and whether no directory bears it yet."""

    async def storage_marked(self, mark: str) -> None:
        """Notes that a directory bears it."""


class Storage:
    """The data directory's files. Blocking work goes to threads.

    Every method raises DataDirUnavailable while the directory is away, refuses, or does not bear the mark of this
    Redis: then it says nothing about a file, and nothing is created in it. The first directory of a new Redis is
    marked, unless `adopts` is False.
    """

    def __init__(self, data_dir: Path, marks: Marks, *, adopts: bool = True) -> None:
        self.data_dir = data_dir
        self._marks, self._adopts = marks, adopts
        self._mark: str | None = None
        self._seen: dict[str, float] = {}  #: file → when it was there, by time.monotonic
        self.directory = data_dir / "files"
        self.mark_path = data_dir / ".store"
        self.reports = Reports(data_dir / "reports", self)

    def parts(self, upload_id: str) -> PartStorage:
        """Returns the storage of one upload's parts; its directory is made with the first."""
        parts = PartStorage(self.data_dir, self._marks, adopts=self._adopts)
        parts._mark = self._mark
        parts.directory = self.data_dir / "uploads" / upload_id
        return parts

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Does blocking work in the directory, in a thread. Raises DataDirUnavailable.

        FileNotFoundError is raised only while the directory is there and ours: then the file is gone.
        """
        mark = await self._own_mark()

        def _work() -> T:
            self._require(mark)
            try:
                with refusals():
                    return work(*args, **options)
            except FileNotFoundError:
                self._require(mark)  # the directory may have gone meanwhile
                raise

        return await asyncio.to_thread(_work)

    async def _own_mark(self) -> str:
        if self._mark is None:
            mark, is_new = await self._marks.storage_mark()
            if is_new and self._adopts:
                await asyncio.to_thread(_adopt, self.mark_path, mark)
                await asyncio.to_thread(self._require, mark)  # it may bear another Redis' mark
                await self._marks.storage_marked(mark)
            self._mark = mark
        return self._mark

    def forget_mark(self) -> None:
        """Asks Redis for the mark again before the next use: it may have come back empty, or be another."""
        self._mark = None

    def _require(self, mark: str) -> None:
        with refusals():
            try:
                found = self.mark_path.read_text(errors="replace").strip()  # a person may have written it
            except FileNotFoundError:
                found = ""
        if found != mark:
            self._seen = {}
            words = "belongs to another Redis." if found else "does not bear the mark of this Redis: is it mounted?"
            raise DataDirUnavailable(
                why="it is not mounted, or not the one that belongs here",
                detail=f"{self.data_dir} {words} If REDIS_URL and TUNEHOOK_DATA_DIR are right, write {mark} to "
                f"{self.mark_path}",
            )

    async def check_room(self, size: int = 0) -> str:
        """Returns the state of the directory in words. Raises DataDirUnavailable if `size` bytes do not fit."""
        return await self.run(self.require_room, size)

    def require_room(self, size: int) -> str:
        """Does the same. Blocks, and does not look for the mark."""
        for path in (self.data_dir, self.directory):
            if path.exists() and not os.access(path, os.W_OK):
                detail = f"{path} is not writable. Correct its owner or mode, or mount it writable"
                raise DataDirUnavailable(why="it is read-only", detail=detail)
        free = shutil.disk_usage(self.data_dir).free
        if free < size:
            detail = f"{self.data_dir} has {free // 1_000_000} MB free, {size:,} bytes are needed"
            raise DataDirUnavailable(why=f"it has no room for {size:,} bytes", detail=detail)
        return f"{self.data_dir} is writable, {free // 1_000_000_000} GB free"

    async def space(self) -> tuple[int, int] | None:
        """Returns the bytes that are free on the directory's disk, and all of them; None while it is away."""
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, self.data_dir)
        except OSError:
            return None
        return usage.free, usage.total

    async def sweep(self, older_than: float) -> int:
        """Removes half received files and uploads untouched for `older_than` seconds.

        Returns how many they were. An upload can be completed for an hour, and is removed at its end.
        """
        return await self.run(_remove_old, self.data_dir, time.time() - older_than)

    async def file_ids(self) -> set[str]:
        """Returns the id of every file that has bytes or a report here."""
        return await self.run(_file_ids, self.data_dir)

    def path(self, file_id: str) -> Path:
        return self.directory / file_id

    def receive(self) -> Incoming:
        """Returns a file to write to; it has no name here until it is kept."""
        return Incoming(self)

    async def save(self, file_id: str, content: bytes) -> str:
        """Writes bytes under an id. Returns their SHA-256."""
        incoming = self.receive()
        await incoming.open(len(content))
        try:
            await incoming.write(content)
            await incoming.keep(file_id)
        finally:
            await incoming.close()
        return incoming.sha256

    async def remove(self, file_id: str) -> None:
        self._seen.pop(file_id, None)
        await self.run(self.path(file_id).unlink, missing_ok=True)
        await self.reports.remove(file_id)

    async def exists(self, file_id: str) -> bool:
        """Returns whether the file is there and can be read, as of at most a second ago if it was."""
        now = time.monotonic()
        if now - self._seen.get(file_id, -SEEN_SECONDS) < SEEN_SECONDS:
            return True
        if await self.size(file_id) is None:
            return False
        self._seen = {name: at for name, at in self._seen.items() if now - at < SEEN_SECONDS} | {file_id: now}
        return True

    async def size(self, file_id: str) -> int | None:
        """Returns the bytes of a file that can be read; None: it is not there."""
        try:
            return await self.run(_size, self.path(file_id))
        except FileNotFoundError:
            return None

    def make_directory(self) -> None:
        """Makes the directory below the data directory, never that one itself. Blocks."""
        path = self.data_dir
        for name in self.directory.relative_to(self.data_dir).parts:
            path /= name
            path.mkdir(exist_ok=True)


class PartStorage(Storage):
    """The parts of one upload, removed as a whole."""

    async def clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            await self.run(shutil.rmtree, self.directory)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns the errors of a disk (full, read-only, broken) into DataDirUnavailable; a missing file is none of them."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error) from error


def refused(error: OSError) -> DataDirUnavailable:
    """Returns the error of a disk without the path, which is for operators."""
    return DataDirUnavailable(why=error.strerror or "it refuses", detail=str(error))


def _size(path: Path) -> int:
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size


def _remove_old(data_dir: Path, before: float) -> int:
    removed = 0
    for path in [*data_dir.glob(f"files/{INCOMING}*"), *data_dir.glob("uploads/upload_*")]:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _adopt(path: Path, mark: str) -> None:
    """Marks a directory that bears no mark; it is on the disk before Redis knows of it."""
    with refusals():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            new = path.with_name(f"{INCOMING}{secrets.token_hex(12)}")
            with new.open("w") as file:
                file.write(mark)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)  # all processes write the same mark
            _sync_directory(path.parent)


def _file_ids(data_dir: Path) -> set[str]:
    paths = [*data_dir.glob("files/file-*"), *data_dir.glob("reports/file-*")]
    return {path.name.partition(".")[0] for path in paths}


class Incoming:
    """A file that is written under a temporary name, flushed to the disk, then renamed: atomic."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._path = storage.directory / f"{INCOMING}{secrets.token_hex(12)}"
        self._handle: int | None = None
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def open(self, size: int = 0) -> None:
        """Opens the file. `size`: as many bytes as it will have at least. Raises DataDirUnavailable."""

        def _open() -> int:
            self._storage.require_room(size + BESIDE)
            self._storage.make_directory()
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

        self._handle = await self._storage.run(_open)

    async def write(self, chunk: bytes) -> None:
        """Buffers up to 1 MiB, so that a thread writes once per MiB and not once per network packet."""
        self.bytes += len(chunk)
        self._pending += chunk
        if len(self._pending) >= CHUNK:
            await self._flush()

    async def _flush(self) -> None:
        block, self._pending = self._pending, bytearray()
        await asyncio.to_thread(self._put, block)

    def _put(self, block: bytearray) -> None:
        assert self._handle is not None
        self._hash.update(block)
        view = memoryview(block)
        with refusals():
            while view:
                view = view[os.write(self._handle, view) :]

    async def written(self) -> Path:
        """Writes out the buffer. Returns the temporary path."""
        await self._flush()
        return self._path

    async def hashed(self) -> str:
        """Writes out the buffer. Returns the SHA-256 of all bytes."""
        await self._flush()
        return self.sha256

    async def keep(self, file_id: str) -> None:
        """Flushes the file to the disk and renames it."""
        await self._flush()

        def _keep() -> None:
            assert self._handle is not None
            os.fsync(self._handle)
            self._path.rename(self._storage.path(file_id))
            _sync_directory(self._storage.directory)

        await self._storage.run(_keep)

    async def close(self) -> None:
        """Closes the file, and removes it unless it was kept. A disk that refuses keeps it until a sweep."""

        def _close() -> None:
            handle, self._handle = self._handle, None
            if handle is not None:
                with contextlib.suppress(OSError):
                    os.close(handle)
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)

        await asyncio.to_thread(_close)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
