"""Which examples were seen before: 8 bytes a line and a table of line numbers, so that 500 MB of lines stay small.

A Python set of digests takes about 70 bytes an entry; this takes 16 to 24.
"""

from __future__ import annotations

import sys
from array import array

MAX_LINES = 4_000_000  # about 64 MiB; beyond it duplicates are not looked for, and the report says so


class Digests:
    """The digest of each line, 0 where a line holds no example; index 0 is line 1."""

    def __init__(self) -> None:
        self.lines = array("Q")
        self.full = False
        self._slots = array("I", bytes(4 * 1024))  # line numbers, by digest; open addressing
        self._mask = 1023
        self._used = 0

    def add(self, line: int, digest: int) -> int:
        """Notes `digest` for `line` (lines come in order, gaps allowed); the first line that had it, or 0."""
        lines = self.lines
        if line > MAX_LINES:
            self.full = True
            return 0
        while len(lines) < line - 1:
            lines.append(0)
        digest = digest or 1
        lines.append(digest)
        slots, mask = self._slots, self._mask
        at = digest & mask
        while other := slots[at]:
            if lines[other - 1] == digest:
                return other
            at = (at + 1) & mask
        slots[at] = line
        self._used += 1
        if self._used * 2 > mask:
            self._grow()
        return 0

    def _grow(self) -> None:
        mask = self._mask * 2 + 1
        slots = array("I", bytes(4 * (mask + 1)))
        lines = self.lines
        for line in self._slots:
            if line:
                at = lines[line - 1] & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = line
        self._slots, self._mask = slots, mask

    def find(self, digest: int) -> int:
        """The first line with this digest, or 0."""
        slots, mask, lines = self._slots, self._mask, self.lines
        at = digest & mask
        while other := slots[at]:
            if lines[other - 1] == digest:
                return other
            at = (at + 1) & mask
        return 0

    def to_bytes(self) -> bytes:
        """Little-endian, 8 bytes a line: kept beside a dataset, they show overlap without reading it again."""
        lines = self.lines
        if sys.byteorder == "big":
            lines = array("Q", lines)
            lines.byteswap()
        return lines.tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Digests:
        lines = array("Q", raw)
        if sys.byteorder == "big":
            lines.byteswap()
        digests = cls()
        for number, digest in enumerate(lines, 1):
            if digest:
                digests.add(number, digest)
        return digests
