"""Storage: the bytes of files, in a directory or a bucket (place.py). A dataset never passes through Redis.

files/<file id>                  the bytes of a file
uploads/<upload id>/<part id>    the parts of an upload, until they are joined
reports/<file id>.json           what the check found; removed with the file
.store                           the mark of the Redis that the place belongs to
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from tunehook.errors import DataDirUnavailable
from tunehook.files.directory import Directory
from tunehook.files.place import MARK, Place
from tunehook.files.reports import Reports

CHUNK = 1024 * 1024
#: So long is a file that was there taken to be there: each look is a thread's, and costs more than the commit.
SEEN_SECONDS = 1.0
#: Bytes that a file needs beside its own: its report and its directory entries.
BESIDE = 64 * 1024
P = ParamSpec("P")
T = TypeVar("T")


class Marks(Protocol):
    """Knows the mark of the place that belongs to a Redis (store/deletion.py)."""

    async def storage_mark(self) -> tuple[str, bool]:
        """Returns the mark, and whether no place bears it yet."""

    async def storage_marked(self, mark: str) -> None:
        """Notes that a place bears it."""


def open_place(store_url: str, data_dir: Path) -> Place:
    """Returns the place that TUNEHOOK_STORE_URL names; without it, the data directory. Opens nothing yet.

    Raises SettingsError if it needs a package that is not installed.
    """
    if not store_url:
        return Directory(data_dir)
    if store_url.startswith("file://"):
        return Directory(Path(unquote(urlsplit(store_url).path)), "TUNEHOOK_STORE_URL")
    from tunehook.files.object_store import ObjectStore  # noqa: PLC0415  (needed by few: 0.1 s and 16 MB)

    return ObjectStore.at(store_url)


class Storage:
    """The files in a place that bears the mark of this Redis.

    Every method raises DataDirUnavailable while the place is away, refuses, or does not bear the mark of this Redis:
    then it says nothing about a file, and nothing is created there. The first place of a new Redis is marked, unless
    `adopts` is False.
    """

    def __init__(self, place: Place, marks: Marks, *, adopts: bool = True) -> None:
        self.place = place
        self._marks, self._adopts = marks, adopts
        self._mark: str | None = None
        self._seen = False
        self._there: dict[str, float] = {}  #: file → when it was there, by time.monotonic
        self._folder = "files"
        self.reports = Reports(self)

    def parts(self, upload_id: str) -> PartStorage:
        """Returns the storage of one upload's parts."""
        return PartStorage(self, upload_id)

    # ---- the mark

    async def check_mark(self, *, again: bool = False) -> None:
        """Raises DataDirUnavailable unless the place bears the mark of this Redis. `again`: also if it was seen."""
        if self._mark is None:
            mark, is_new = await self._marks.storage_mark()
            if is_new and self._adopts:
                await self.place.put_new(MARK, mark.encode())
                await self._require(mark)  # it may bear another Redis' mark
                await self._marks.storage_marked(mark)
            self._mark = mark
        if again or self.place.can_vanish or not self._seen:
            await self._require(self._mark)
            self._seen = True

    def forget_mark(self) -> None:
        """Asks Redis for the mark again before the next use: it may have come back empty, or be another."""
        self._mark, self._seen, self._there = None, False, {}

    async def _require(self, mark: str) -> None:
        try:
            raw = await self.place.piece(MARK, 0, 1024)
            found = raw.decode(errors="replace").strip()  # a person may have written it
        except FileNotFoundError:
            found = ""
        if found != mark:
            self._there = {}
            words = (
                "belongs to another Redis."
                if found
                else "does not bear the mark of this Redis: is it the right one, and mounted?"
            )
            raise DataDirUnavailable(
                why="it is not the one that belongs here, or not mounted",
                detail=f"{self.place.label} {words} If REDIS_URL and {self.place.setting} are right, "
                f"write {mark} to {self.place.label}/{MARK}",
            )

    async def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs) -> T:
        """Does something in the place. FileNotFoundError is raised only while the place is ours: the file is gone."""
        await self.check_mark()
        try:
            return await work(*args, **options)
        except FileNotFoundError:
            await self.check_mark(again=True)  # the place may have gone meanwhile
            raise

    # ---- room

    async def check_room(self, size: int = 0) -> str:
        """Returns the state of the place in words. Raises DataDirUnavailable if `size` bytes do not fit."""
        return await self.run(self.place.require_room, size)

    async def space(self) -> tuple[int, int] | None:
        """Returns the bytes that are free in the place, and all of them; None while it is away, or has no limit."""
        return await self.place.space()

    # ---- files

    def name(self, file_id: str) -> str:
        return f"{self._folder}/{file_id}"

    def receive(self, file_id: str) -> Incoming:
        """Returns a file to write to. Its id has no bytes until it is kept."""
        return Incoming(self, file_id)

    async def save(self, file_id: str, content: bytes) -> str:
        """Writes bytes under an id, in place of earlier ones. Returns their SHA-256."""
        await self.check_room(len(content) + BESIDE)
        await self.run(self.place.put, self.name(file_id), content)
        return (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()

    async def open(self, file_id: str) -> Blob:
        """Returns a file to read. Raises FileNotFoundError."""
        return Blob(self, self.name(file_id), await self.run(self.place.size, self.name(file_id)))

    async def remove(self, file_id: str) -> None:
        self._there.pop(file_id, None)
        await self.run(self.place.remove, self.name(file_id))
        await self.reports.remove(file_id)

    async def exists(self, file_id: str, *, within: float = 0.0) -> bool:
        """Returns whether the file is there and can be read, as of at most `within` seconds ago if it was."""
        now = time.monotonic()
        if now - self._there.get(file_id, -within) < within:
            return True
        if await self.size(file_id) is None:
            return False
        self._there = {name: at for name, at in self._there.items() if now - at < SEEN_SECONDS} | {file_id: now}
        return True

    async def size(self, file_id: str) -> int | None:
        """Returns the bytes of a file that can be read; None: it is not there."""
        try:
            return (await self.open(file_id)).size
        except FileNotFoundError:
            return None

    async def sweep(self, older_than: float) -> int:
        """Removes half received files and uploads untouched for `older_than` seconds.

        Returns how many they were. An upload can be completed for an hour, and is removed at its end.
        """
        return await self.run(self.place.sweep, time.time() - older_than)

    async def file_ids(self) -> set[str]:
        """Returns the id of every file that has bytes or a report here."""

        async def _file_ids() -> set[str]:
            found: set[str] = set()
            for folder in ("files", "reports"):
                async for entry in self.place.entries(folder):
                    found.add(PurePath(entry.name).name.partition(".")[0])
            return {file_id for file_id in found if file_id.startswith("file-")}

        return await self.run(_file_ids)


class PartStorage(Storage):
    """The parts of one upload, removed as a whole."""

    def __init__(self, storage: Storage, upload_id: str) -> None:
        self.__dict__.update(storage.__dict__)  # the mark as well
        self._folder = f"uploads/{upload_id}"

    async def clear(self) -> None:
        await self.run(self.place.remove_folder, self._folder)


@dataclass(frozen=True)
class Blob:
    """The bytes of one file, read a piece at a time, so that they stay open nowhere."""

    storage: Storage
    name: str
    size: int

    async def chunks(self, start: int = 0) -> AsyncIterator[bytes]:
        """Yields the bytes from `start`. Raises FileNotFoundError if there are fewer than there were."""
        while start < self.size:
            piece = await self.piece(start, self.storage.place.piece_bytes)
            if not piece:
                raise FileNotFoundError(f"{self.name} ends after {start} of {self.size} bytes")
            yield piece
            start += len(piece)

    async def piece(self, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start`."""
        return await self.storage.run(self.storage.place.piece, self.name, start, length)


class Incoming:
    """A file that arrives: hashed on its way, and whole under its id once it is kept."""

    def __init__(self, storage: Storage, file_id: str) -> None:
        self.id = file_id
        self._storage = storage
        self._writer = storage.place.create(storage.name(file_id))
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def open(self, size: int = 0) -> None:
        """Opens the file. `size`: as many bytes as it will have at least. Raises DataDirUnavailable."""
        await self._storage.check_room(size + BESIDE)
        await self._storage.run(self._writer.open)

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Buffers up to 1 MiB, so that a thread writes once per MiB and not once per network packet."""
        self.bytes += len(chunk)
        self._pending += chunk
        if len(self._pending) >= CHUNK:
            await self._flush()

    async def _flush(self) -> None:
        block, self._pending = self._pending, bytearray()
        if block:
            await asyncio.to_thread(self._hash.update, block)
            await self._writer.write(block)

    async def hashed(self) -> str:
        """Writes out the buffer. Returns the SHA-256 of all bytes."""
        await self._flush()
        return self.sha256

    async def keep(self) -> None:
        """Returns once the bytes are safe under their id."""
        await self._flush()
        await self._storage.run(self._writer.keep)

    async def close(self) -> None:
        """Drops the bytes, unless they were kept."""
        await self._writer.close()
