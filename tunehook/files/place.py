"""Place: where the storage's bytes lie under names such as `files/<file id>`; a directory or a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

#: The name of the mark: it says which Redis the place belongs to.
MARK = ".store"


@dataclass(frozen=True)
class Entry:
    """One name in a place, with its bytes and when it was written, in unix seconds."""

    name: str
    bytes: int
    modified: float


class Writer(Protocol):
    """Bytes on their way under a name, which has them once they are kept: all of them, or none."""

    async def open(self) -> None: ...

    async def write(self, block: bytes | bytearray) -> None: ...

    async def keep(self) -> None:
        """Returns once the bytes are safe under their name. A name that has bytes already is refused."""

    async def close(self) -> None:
        """Drops the bytes, unless they were kept."""


class Place(Protocol):
    """Every method raises FileNotFoundError for a name that is not there, DataDirUnavailable if the place refuses.

    `label`: the place in words, for operators. `setting`: the variable that names it. `can_vanish`: an empty directory
    may stand in its stead at any moment, as below a disk that is not mounted, so its mark is read before each use.
    `piece_bytes`: of one read.
    """

    label: str
    setting: str
    can_vanish: bool
    piece_bytes: int

    def create(self, name: str) -> Writer:
        """Returns a writer, which is not open yet."""

    async def put(self, name: str, content: bytes, *, safe: bool = True) -> None:
        """Writes a small object in place of the one that is there; whole, or not at all.

        `safe`: it outlives a power cut. What can be made again need not wait for a disk.
        """

    async def put_new(self, name: str, content: bytes) -> bool:
        """Writes a small object. Returns False if the name has one: of two writers at once, one gets True."""

    async def piece(self, name: str, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start`; fewer, or none, at the end."""

    async def size(self, name: str) -> int: ...

    async def remove(self, name: str) -> None:
        """Does nothing where there is none."""

    async def remove_folder(self, folder: str) -> None:
        """Removes all names that begin with `folder/`."""

    def entries(self, folder: str) -> AsyncIterator[Entry]:
        """Yields what is complete under `folder/`, in a stable order."""

    async def sweep(self, before: float) -> int:
        """Removes half received files and parts of uploads that are older; returns how many."""

    async def require_room(self, size: int) -> str:
        """Returns the state in words. Raises DataDirUnavailable if `size` bytes do not fit."""

    async def space(self) -> tuple[int, int] | None:
        """Returns the bytes that are free, and all of them; None where there is no such limit, or it is not known."""
