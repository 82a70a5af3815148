"""Bytes that may be too many for memory: small ones stay in it, large ones go to the disk by a thread."""

import asyncio
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import IO, Any, TypeVar

_IN_MEMORY = 4 * 2**20
_CHUNK = 256 * 2**10

Found = TypeVar("Found")


class _Reading(io.RawIOBase):
    """Reads a file with a position of its own: several may read at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = os.preadv(self._descriptor, [buffer], self._position)
        self._position += found
        return found


class Blob:
    """Write with `append`, read with `chunks`; `close` forgets it."""

    def __init__(self, initial: bytes = b"") -> None:
        self.size = len(initial)
        self._small = bytearray(initial)
        self._disk: IO[bytes] | None = None

    async def append(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._small += chunk
        if len(self._small) > _IN_MEMORY:
            await asyncio.to_thread(self._spill)

    def _spill(self) -> None:
        if self._disk is None:
            self._disk = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the blob)
        self._disk.seek(0, 2)
        self._disk.write(self._small)
        self._disk.flush()
        self._small = bytearray()

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._disk is None:
            yield bytes(self._small)
            return
        await asyncio.to_thread(self._spill)
        for start in range(0, self.size, _CHUNK):
            yield await asyncio.to_thread(self._at, start)

    def _at(self, start: int) -> bytes:
        if self._disk is None:
            raise ValueError("the blob was closed while it was read")
        return os.pread(self._disk.fileno(), _CHUNK, start)  # no shared position: several may read at once

    async def md5(self) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        async for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    async def read(self, reading: Callable[[Iterator[bytes]], Found]) -> Found:
        """What `reading` makes of the lines; on a thread, unless they are few."""
        if self._disk is None:
            return reading(self._lines())
        await asyncio.to_thread(self._spill)
        return await asyncio.to_thread(lambda: reading(self._lines()))

    def _lines(self) -> Iterator[bytes]:
        if self._disk is None:
            return iter(bytes(self._small).splitlines())
        return io.BufferedReader(_Reading(self._disk.fileno()), _CHUNK)

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()
            self._disk = None
        self._small = bytearray()
