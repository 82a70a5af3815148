"""Reads datasets in a process of its own: `python -m tunehook.dataset`, started by process.py.

It gets the bytes from its parent and opens nothing. One question per line on stdin, in JSON, and after it the file's
bytes in pieces, each behind its length in four bytes; a piece of length 0 is the end. One answer per line on stdout, in
JSON. The process ends when its stdin does. While it reads, it writes an empty line each half second, to show that it
does not hang.

    {"do": "check"}                        the report of a file; its digests come after the line, `attached` bytes
    {"do": "count", "format", "model"}     the tokens of a file
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from tunehook.dataset.checker import Checker

ALIVE = b"\n"
ALIVE_SECONDS = 0.5
LENGTH_BYTES = 4
#: In place of a length: the parent cannot read the rest of the file, and wants no answer.
BROKEN_OFF = 2**32 - 1
#: What the checker is given at once, so that a sign of life comes between.
FED_BYTES = 256 * 1024


class BrokenOffError(Exception):
    """The bytes of a file ended before the file did."""


def answer(asked: dict[str, Any], pieces: Iterable[bytes], alive: Callable[[], None]) -> tuple[dict[str, Any], bytes]:
    """Answers one question about a file's bytes. Calls `alive` while it reads. Returns the answer and the digests."""
    if asked["do"] == "check":
        checker = Checker(minimum=1, judged="later")
    else:
        checker = Checker(asked["format"], model=asked["model"], minimum=0, compare=0)
    for chunk in _chunks(pieces, alive):
        checker.feed(chunk)
    report = checker.finish()
    if asked["do"] == "check":
        return report.to_dict(), report.digests.to_bytes()
    tokens = report.tokens
    assert tokens is not None
    return {"total": tokens.total, "trained": tokens.trained, "over": tokens.over_limit}, b""


def _chunks(pieces: Iterable[bytes], alive: Callable[[], None]) -> Iterator[bytes]:
    said = time.monotonic()
    for piece in pieces:
        for start in range(0, len(piece), FED_BYTES):
            yield piece[start : start + FED_BYTES]
            if time.monotonic() - said > ALIVE_SECONDS:
                alive()
                said = time.monotonic()


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while length := int.from_bytes(source.read(LENGTH_BYTES), "big"):
        if length == BROKEN_OFF:
            raise BrokenOffError
        yield source.read(length)


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our stdin
    os.nice(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    source = sys.stdin.buffer
    while line := source.readline():
        try:
            found, digests = answer(json.loads(line), _pieces(source), lambda: _say(ALIVE))
        except BrokenOffError:
            continue
        _say(json.dumps({**found, "attached": len(digests)}).encode() + b"\n" + digests)


if __name__ == "__main__":
    main()
