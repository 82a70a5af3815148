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
from pathlib import Path

from tunehook.files.reports import Reports

CHUNK = 1024 * 1024
INCOMING = ".incoming-"


class Storage:
    """The data directory's files. Blocking work goes to threads."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.directory = data_dir / "files"
        self.mark_path = data_dir / ".store"
        self.reports = Reports(data_dir / "reports")

    def parts(self, upload_id: str) -> PartStorage:
        """Returns the storage of one upload's parts; its directory is made with the first."""
        return PartStorage(self._data_dir, upload_id)

    async def sweep(self, older_than: float) -> int:
        """Removes half received files and uploads untouched for `older_than` seconds.

        Returns how many they were. An upload can be completed for an hour, and is removed at its end.
        """
        return await asyncio.to_thread(_remove_old, self._data_dir, time.time() - older_than)

    async def mark(self, new: str) -> str:
        """Returns the mark of the store that the directory belongs to; writes `new` if it has none."""
        return await asyncio.to_thread(_mark, self.mark_path, new)

    async def is_marked(self, mark: str) -> bool:
        """Whether the directory belongs to the store with this mark."""
        return await asyncio.to_thread(lambda: self.mark_path.is_file() and self.mark_path.read_text() == mark)

    async def file_ids(self) -> set[str]:
        """Returns the id of every file that has bytes or a report here."""
        return await asyncio.to_thread(_file_ids, self._data_dir)

    def path(self, file_id: str) -> Path:
        return self.directory / file_id

    def receive(self) -> Incoming:
        """Returns a file to write to; it has no name here until it is kept."""
        return Incoming(self.directory)

    async def save(self, file_id: str, content: bytes) -> str:
        """Writes bytes under an id. Returns their SHA-256."""
        incoming = self.receive()
        await incoming.open()
        try:
            await incoming.write(content)
            await incoming.keep(file_id)
        finally:
            await incoming.close()
        return incoming.sha256

    async def remove(self, file_id: str) -> None:
        await asyncio.to_thread(self.path(file_id).unlink, missing_ok=True)
        await self.reports.remove(file_id)

    async def exists(self, file_id: str) -> bool:
        return await asyncio.to_thread(self.path(file_id).is_file)


class PartStorage(Storage):
    """The parts of one upload, removed as a whole."""

    def __init__(self, data_dir: Path, upload_id: str) -> None:
        super().__init__(data_dir)
        self.directory = data_dir / "uploads" / upload_id

    async def clear(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)


def _remove_old(data_dir: Path, before: float) -> int:
    removed = 0
    for path in [*data_dir.glob(f"files/{INCOMING}*"), *data_dir.glob("uploads/upload_*")]:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _mark(path: Path, new: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(new)
    return path.read_text()


def _file_ids(data_dir: Path) -> set[str]:
    paths = [*data_dir.glob("files/file-*"), *data_dir.glob("reports/file-*")]
    return {path.name.partition(".")[0] for path in paths}


class Incoming:
    """A file that is written under a temporary name, flushed to the disk, then renamed: atomic."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / f"{INCOMING}{secrets.token_hex(12)}"
        self._handle: int | None = None
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def open(self) -> None:
        def _open() -> int:
            self._directory.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

        self._handle = await asyncio.to_thread(_open)

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
            self._path.rename(self._directory / file_id)
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

        await asyncio.to_thread(_keep)

    async def close(self) -> None:
        """Closes the file, and removes it unless it was kept."""

        def _close() -> None:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
            self._path.unlink(missing_ok=True)

        await asyncio.to_thread(_close)
