"""Reads datasets in a process of its own: `python -m tunehook.dataset`, started by process.py.

One question per line on stdin, one answer per line on stdout, both JSON. The process ends when its stdin does.
While it reads, it writes an empty line each half second, to show that it does not hang.

    {"do": "check", "path", "digests"}              the report of a file; its digests are written to a file of that name
    {"do": "count", "path", "format", "model"}      the tokens of a file
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunehook.dataset.checker import Checker

CHUNK = 256 * 1024
ALIVE = b"\n"
ALIVE_SECONDS = 0.5


def answer(asked: dict[str, Any], alive: Callable[[], None]) -> dict[str, Any]:
    """Answers one question; a file that cannot be read is `{"error": …}`. Calls `alive` while it reads."""
    try:
        if asked["do"] == "check":
            return _check(Path(asked["path"]), Path(asked["digests"]), alive)
        return _count(Path(asked["path"]), asked["format"], asked["model"], alive)
    except OSError as error:
        return {"error": error.strerror or str(error)}


def _check(path: Path, digests: Path, alive: Callable[[], None]) -> dict[str, Any]:
    checker = Checker(minimum=1, judged="later")
    for chunk in _chunks(path, alive):
        checker.feed(chunk)
    report = checker.finish()
    digests.write_bytes(report.digests.to_bytes())
    return report.to_dict()


def _count(path: Path, form: str, model: str, alive: Callable[[], None]) -> dict[str, Any]:
    checker = Checker(form, model=model, minimum=0, compare=0)
    for chunk in _chunks(path, alive):
        checker.feed(chunk)
    tokens = checker.finish().tokens
    assert tokens is not None
    return {"total": tokens.total, "trained": tokens.trained, "over": tokens.over_limit}


def _chunks(path: Path, alive: Callable[[], None]) -> Iterator[bytes]:
    said = time.monotonic()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            if time.monotonic() - said > ALIVE_SECONDS:
                alive()
                said = time.monotonic()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our stdin
    os.nice(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for line in sys.stdin:
        _say(json.dumps(answer(json.loads(line), lambda: _say(ALIVE))).encode() + b"\n")


if __name__ == "__main__":
    main()
