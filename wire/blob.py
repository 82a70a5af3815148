"""Bytes that arrive, in a file of their own. Every call blocks on the disk: make it on a thread."""

import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


class Blob:
    """A new file in `folder`. Write it, then read it or move it elsewhere; `close` removes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid.uuid4().hex
        self.path.touch()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(chunk)
        self.size += len(chunk)

    def read(self, reading: Callable[[Iterable[bytes]], Found]) -> Found:
        """Returns what `reading` makes of the lines."""
        with self.path.open("rb") as lines:
            return reading(lines)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
