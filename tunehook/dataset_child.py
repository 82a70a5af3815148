"""Reads datasets in a process of its own: `python -m tunehook.dataset_child`, started by tunehook/child.py.

A question a line on stdin, an answer a line on stdout, JSON both. It ends when stdin does, so it outlives nobody.
While it reads, an empty line each half second says that it does not hang.

    {"do": "follow", "path", "upto"}                reads on in a file that is still being written
    {"do": "report", "path", "upto", "digests"}     reads the rest; its report, its digests as a file of that name
    {"do": "forget", "path"}                        the file is given up
    {"do": "count", "path", "format", "model"}      the tokens of a whole file
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tunehook.dataset import Checker

CHUNK = 256 * 1024
STILL_AT_IT = b"\n"
STILL_SECONDS = 0.5


@dataclass
class _Followed:
    checker: Checker
    read: int = 0


@dataclass
class Reader:
    """Answers questions. A file that it does not know it reads from the beginning: the process before may have died."""

    followed: dict[str, _Followed] = field(default_factory=dict)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            match asked["do"]:
                case "follow":
                    self._read(asked["path"], asked["upto"])
                case "report":
                    return self._report(asked["path"], asked["upto"], Path(asked["digests"]))
                case "forget":
                    self.followed.pop(asked["path"], None)
                case "count":
                    return self._count(Path(asked["path"]), asked["format"], asked["model"])
        except OSError as error:
            return {"error": error.strerror or str(error)}
        return {}

    def _read(self, path: str, upto: int) -> Checker:
        known = self.followed.setdefault(path, _Followed(Checker(minimum=1)))
        with Path(path).open("rb") as file:
            file.seek(known.read)
            for chunk in _chunks(file, upto - known.read):
                known.read += len(chunk)
                known.checker.feed(chunk)
        return known.checker

    def _report(self, path: str, upto: int, digests: Path) -> dict[str, Any]:
        report = self._read(path, upto).finish()
        del self.followed[path]
        digests.write_bytes(report.digests.to_bytes())
        return report.to_dict()

    def _count(self, path: Path, form: str, model: str) -> dict[str, Any]:
        checker = Checker(form, model=model, minimum=0, compare=0)
        with path.open("rb") as file:
            for chunk in _chunks(file):
                checker.feed(chunk)
        tokens = checker.finish().tokens
        assert tokens is not None
        return {"total": tokens.total, "trained": tokens.trained, "over": tokens.over_limit}


def _chunks(file: BinaryIO, size: float = math.inf) -> Iterator[bytes]:
    """Up to `size` bytes of it, said to be read meanwhile."""
    said = time.monotonic()
    while size > 0 and (chunk := file.read(int(min(CHUNK, size)))):
        size -= len(chunk)
        yield chunk
        if time.monotonic() - said > STILL_SECONDS:
            _say(STILL_AT_IT)
            said = time.monotonic()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asks, whose end is ours
    os.nice(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    reader = Reader()
    for line in sys.stdin:
        _say(json.dumps(reader.answer(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
