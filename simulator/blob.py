"""Bytes that may be too many for memory: small ones stay in it, large ones go to the disk by a thread."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from simulator.examples import Dataset, examine

_IN_MEMORY = 4 * 2**20
_CHUNK = 256 * 2**10


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

    async def examined(self) -> Dataset:
        """The bytes read as a training file."""
        if self._disk is None:
            return examine(bytes(self._small).splitlines())
        await asyncio.to_thread(self._spill)
        return await asyncio.to_thread(self._examine_disk)

    def _examine_disk(self) -> Dataset:
        if self._disk is None:
            return Dataset()
        self._disk.seek(0)
        return examine(self._disk)

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()
            self._disk = None
        self._small = bytearray()
