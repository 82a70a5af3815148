"""Line splitter: turns bytes into lines, and holds at most one line and one chunk."""

from __future__ import annotations

from collections.abc import Iterator

SLICE = 1 << 18  # a caller may feed a whole file at once: its lines are still made while they fit the cache


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

    def feed(self, chunk: bytes) -> Iterator[list[bytes | int]]:
        if len(chunk) <= SLICE:
            yield self._cut(chunk)
            return
        view = memoryview(chunk)
        for start in range(0, len(chunk), SLICE):
            yield self._cut(bytes(view[start : start + SLICE]))

    def _cut(self, piece: bytes) -> list[bytes | int]:
        lines: list[bytes | int] = list(piece.split(b"\n"))
        if len(piece) > self._max:
            lines = [part if len(part) <= self._max else len(part) for part in piece.split(b"\n")]
            lines[0], lines[-1] = piece.partition(b"\n")[0], piece.rpartition(b"\n")[2]
        self._fed += len(piece)
        last = lines.pop()
        assert isinstance(last, bytes)  # what split gives; only for the type checker
        if lines:
            first = lines[0]
            assert isinstance(first, bytes)
            self._keep(first)
            lines[0] = self._take()
        self._keep(last)
        return lines

    def finish(self) -> list[bytes | int]:
        """Returns the last line, if the file does not end in a line end."""
        if not self._size:
            return []
        self._fed += 1  # as if it did
        return [self._take()]

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
