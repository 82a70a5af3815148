"""Counts tokens in a process of its own: `python -m tunehook.token_child`, started by tunehook/counting.py.

A question a line on stdin, `{"path", "format", "model"}`, an answer a line on stdout. It ends when stdin does, so it
outlives nobody.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tunehook.dataset import Checker

CHUNK = 1024 * 1024


def main() -> None:
    os.nice(10)  # whoever calls the API goes first
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)  # noqa: T201


def _answer(asked: dict[str, str]) -> dict[str, Any]:
    checker = Checker(asked["format"], model=asked["model"], minimum=0, compare=0)
    try:
        with Path(asked["path"]).open("rb") as file:
            while chunk := file.read(CHUNK):
                checker.feed(chunk)
    except OSError as error:
        return {"error": error.strerror or str(error)}
    tokens = checker.finish().tokens
    assert tokens is not None
    return {"total": tokens.total, "trained": tokens.trained, "over": tokens.over_limit}


if __name__ == "__main__":
    main()
