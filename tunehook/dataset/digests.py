"""Digests: finds equal examples with 8 bytes a line, by a search at the end that works in parts.

A set of all digests would take about 70 bytes an example, and a lookup for each line costs more than the search.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator

MAX_LINES = 4_000_000  # 32 MiB; beyond it duplicates are not searched for, and the report says so
_PART = 1 << 17  # digests held in a dict at once, about 15 MiB


class Digests:
    """The 64-bit digest of each line, 0 where a line holds no example; index 0 is line 1."""

    def __init__(self, at_most: int = MAX_LINES) -> None:
        self.at_most = at_most
        self.lines = array("Q")
        self.full = False

    def extend(self, first: int, digests: list[int]) -> None:
        """Adds the digests of the lines from `first` on. Lines come in order; left out ones hold no example."""
        room = max(0, self.at_most + 1 - first)
        self.full = self.full or any(digests[room:])
        kept = digests[:room]
        while kept and not kept[-1]:
            kept.pop()
        if kept:
            self.lines.extend([0] * (first - 1 - len(self.lines)))
            self.lines.extend(kept)

    def duplicates(self) -> Iterator[tuple[int, int]]:
        """Yields each line whose example came before, with the first line that had it; in no order."""
        parts = len(self.lines) // _PART + 1
        for part in range(parts):
            here = [digest for digest in self.lines if digest and digest % parts == part]
            if len(set(here)) == len(here):  # as in most files, in a third of the time
                continue
            first: dict[int, int] = {}
            for line, digest in enumerate(self.lines, 1):
                if digest and digest % parts == part:
                    earlier = first.setdefault(digest, line)
                    if earlier != line:
                        yield line, earlier

    def shared_with(self, other: Digests) -> Iterator[tuple[int, int]]:
        """Yields each line whose example is in `other` too, with the first line that has it there."""
        parts = len(self.lines) // _PART + 1
        for part in range(parts):
            there = dict.fromkeys((d for d in self.lines if d and d % parts == part), 0)
            for line, digest in enumerate(other.lines, 1):
                if there.get(digest) == 0:
                    there[digest] = line
            for line, digest in enumerate(self.lines, 1):
                if digest and digest % parts == part and there[digest]:
                    yield line, there[digest]

    def to_bytes(self) -> bytes:
        """Returns 8 bytes a line, little-endian. Kept beside a dataset, they show overlap without reading it."""
        return _little_endian(self.lines).tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Digests:
        digests = cls()
        digests.lines = _little_endian(array("Q", raw))
        return digests


def counted(pairs: Iterable[tuple[int, int]], at_most: int) -> tuple[int, list[tuple[int, int]]]:
    """Returns how many pairs there are, and those with the lowest lines."""
    count, lowest = 0, []
    for count, pair in enumerate(pairs, 1):  # noqa: B007  # the last count is the result
        lowest.append(pair)
        if len(lowest) > 1000 + at_most:
            lowest = sorted(lowest)[:at_most]
    return count, sorted(lowest)[:at_most]


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
