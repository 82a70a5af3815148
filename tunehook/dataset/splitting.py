"""Line splitter: turns bytes into lines, and holds at most one line and one chunk."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from operator import itemgetter

SLICE = 1 << 18  # a caller may feed a whole file at once: its lines are still made while they fit the cache
_without_end = itemgetter(slice(-1))


class LineSplitter:
    """Cuts a stream at b"\\n". For a line above `max_line` bytes it gives an int, its length."""

    def __init__(self, max_line: int) -> None:
        self._max = max_line
        self._parts: list[bytes] = []
        self._size = 0
        self._fed = 0

    @property
    def cut(self) -> int:
        """The bytes up to the last line end."""
        return self._fed - self._size

    def feed(self, chunk: bytes) -> Iterator[Iterator[bytes | int]]:
        """Yields the lines of one slice after the other, as they are read: each is small and soon forgotten."""
        if len(chunk) <= SLICE:
            yield self._cut(chunk)
            return
        view = memoryview(chunk)
        for start in range(0, len(chunk), SLICE):
            yield self._cut(bytes(view[start : start + SLICE]))

    def _cut(self, piece: bytes) -> Iterator[bytes | int]:
        self._fed += len(piece)
        first, end = piece.find(b"\n"), piece.rfind(b"\n")
        if end < 0:
            self._keep(piece)
            return iter(())
        self._keep(piece[:first])
        began = self._take()
        self._keep(piece[end + 1 :])
        # Not `split`, which compares byte by byte and takes four times as long.
        rest: Iterator[bytes] = map(_without_end, BytesIO(piece[first + 1 : end + 1]))
        if len(piece) > self._max:
            return chain((began,), [line if len(line) <= self._max else len(line) for line in rest])
        return chain((began,), rest)

    def finish(self) -> Iterator[bytes | int]:
        """Returns the last line, if the file does not end in a line end."""
        if not self._size:
            return iter(())
        self._fed += 1  # as if it did
        return iter((self._take(),))

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _take(self) -> bytes | int:
        line: bytes | int = b"".join(self._parts) if self._size <= self._max else self._size
        self._parts.clear()
        self._size = 0
        return line
