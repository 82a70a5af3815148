"""Directory: the storage's bytes in a directory of this machine, or of a disk that machines share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tunehook.errors import DataDirUnavailable
from tunehook.files.place import Entry

INCOMING = ".incoming-"
#: So many bytes are flushed to the disk at a time: commits of a Redis on the same disk wait for what is being flushed.
FLUSHED_BYTES = 16 * 1024 * 1024
P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns the errors of a disk (full, read-only, broken) into DataDirUnavailable; a missing file is none of them.

    The error's text has no path: that is for operators.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataDirUnavailable(why=error.strerror or "it refuses", detail=str(error)) from error


def _in_thread(work: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorates a function that blocks: done in a thread. Raises DataDirUnavailable, or FileNotFoundError."""

    @wraps(work)
    async def _work(*args: P.args, **options: P.kwargs) -> T:
        return await asyncio.to_thread(refusals()(work), *args, **options)

    return _work


class Directory:
    """A place (place.py) on a disk. Blocking work goes to threads.

    It makes the directories below its own, never that one itself: it may be a disk that is not mounted.
    """

    can_vanish = True
    piece_bytes = 1024 * 1024

    def __init__(self, root: Path, setting: str = "TUNEHOOK_DATA_DIR") -> None:
        self.root, self.setting = root, setting
        self.label = str(root)

    def create(self, name: str) -> DirectoryWriter:
        return DirectoryWriter(self, name)

    @_in_thread
    def put(self, name: str, content: bytes, *, safe: bool = True) -> None:
        self._put(name, content, safe)

    @_in_thread
    def put_new(self, name: str, content: bytes) -> bool:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return False
        self._put(name, content, safe=True)
        return True

    def _put(self, name: str, content: bytes, safe: bool) -> None:
        handle, aside = self.open_aside(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if safe:
                    os.fsync(file.fileno())
            aside.replace(self.path(name))
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        if safe:
            sync_directory(aside.parent)

    @_in_thread
    def piece(self, name: str, start: int, length: int) -> bytes:
        with self.path(name).open("rb", buffering=0) as file:
            there = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), max(0, min(length, there - start)), start)

    @_in_thread
    def size(self, name: str) -> int:
        with self.path(name).open("rb") as file:  # that it can be read, too
            return os.fstat(file.fileno()).st_size

    @_in_thread
    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    @_in_thread
    def remove_folder(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path(folder))

    async def entries(self, folder: str) -> AsyncIterator[Entry]:
        for entry in await self._entries(folder):
            yield entry

    @_in_thread
    def _entries(self, folder: str) -> list[Entry]:
        found = []
        for path in sorted(self.path(folder).rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if not path.name.startswith(".") and path.is_file():
                    about = path.stat()
                    found.append(Entry(path.relative_to(self.root).as_posix(), about.st_size, about.st_mtime))
        return found

    @_in_thread
    def sweep(self, before: float) -> int:
        removed = 0
        patterns = (f"{INCOMING}*", f"*/{INCOMING}*", "uploads/upload_*")  # the first: of a mark
        for path in (path for pattern in patterns for path in self.root.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed += 1
        return removed

    @_in_thread
    def require_room(self, size: int) -> str:
        for path in (self.root, self.root / "files"):
            if path.exists() and not os.access(path, os.W_OK):
                detail = f"{path} is not writable. Correct its owner or mode, or mount it writable"
                raise DataDirUnavailable(why="it is read-only", detail=detail)
        free = shutil.disk_usage(self.root).free
        if free < size:
            detail = f"{self.root} has {free // 1_000_000} MB free, {size:,} bytes are needed"
            raise DataDirUnavailable(why=f"it has no room for {size:,} bytes", detail=detail)
        return f"{self.root} is writable, {free // 1_000_000_000} GB free"

    async def space(self) -> tuple[int, int] | None:
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, self.root)
        except OSError:
            return None
        return usage.free, usage.total

    # ---- for the writer

    def path(self, name: str) -> Path:
        return self.root / name

    def open_aside(self, name: str) -> tuple[int, Path]:
        """Opens a file beside the name, to be renamed. Blocks."""
        path = self.root
        for part in Path(name).parent.parts:
            path /= part
            path.mkdir(exist_ok=True)
        aside = path / f"{INCOMING}{secrets.token_hex(12)}"  # swept if this process is killed
        return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), aside


class DirectoryWriter:
    """A file that is written under a temporary name, flushed to the disk, then renamed: atomic."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory, self._name = directory, name
        self._open: tuple[int, Path] | None = None
        self._unflushed = 0
        self._flushing: asyncio.Future[None] | None = None

    @_in_thread
    def open(self) -> None:
        self._open = self._directory.open_aside(self._name)

    async def write(self, block: bytes | bytearray) -> None:
        """Writes a block. Every 16 MiB a flush begins, which the next one waits for."""
        await self._write(block)
        self._unflushed += len(block)
        if self._unflushed >= FLUSHED_BYTES and self._open is not None:
            await self._flushed()
            self._flushing = asyncio.ensure_future(_in_thread(self.flush)(self._open[0]))
            self._unflushed = 0

    async def _flushed(self) -> None:
        """Waits for the flush that is under way. Raises DataDirUnavailable if it failed."""
        if self._flushing is not None:
            await asyncio.shield(self._flushing)

    @_in_thread
    def _write(self, block: bytes | bytearray) -> None:
        assert self._open is not None
        view = memoryview(block)
        while view:
            view = view[os.write(self._open[0], view) :]

    def flush(self, handle: int) -> None:
        """Returns once what was written is on the disk. Blocks."""
        os.fsync(handle)

    async def keep(self) -> None:
        """Flushes the file to the disk and renames it."""
        await self._flushed()
        await self._keep()

    @_in_thread
    def _keep(self) -> None:
        assert self._open is not None
        handle, aside = self._open
        path = self._directory.path(self._name)
        if path.exists():
            raise FileExistsError(17, "A file of this name is there already", str(path))
        self.flush(handle)
        aside.rename(path)
        sync_directory(path.parent)

    async def close(self) -> None:
        """Closes the file, and removes it unless it was kept. A disk that refuses keeps it until a sweep."""
        try:
            with contextlib.suppress(DataDirUnavailable):
                await self._flushed()
        finally:
            await self._close()

    @_in_thread
    def _close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            with contextlib.suppress(OSError):
                os.close(opened[0])
            with contextlib.suppress(OSError):
                opened[1].unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
