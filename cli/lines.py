"""Prints lines. A character that would steer the terminal becomes a space: much of the text comes from outside."""

from __future__ import annotations

import json
import sys


def tell(text: object = "", *, end: str = "\n") -> None:
    """Prints data, on stdout."""
    print(harmless(str(text)), end=end, flush=True)


def say(*lines: str) -> None:
    """Prints talk, on stderr: what is going on, beside the data."""
    for line in lines:
        print(harmless(line), file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """Returns text that steers no terminal, but for line breaks and tabs."""
    return text if text.isprintable() else "".join(one if one.isprintable() or one in "\n\t" else " " for one in text)


def clean(cell: object) -> str:
    """Returns a cell's text, which breaks no row either."""
    text = "" if cell is None else str(cell)
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


def json_text(value: object, indent: int | None = None) -> str:
    """Returns JSON with characters as they are, but those that would steer the terminal as `\\u…`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, separators=None if indent else (",", ":"))
    return "".join(one if one.isprintable() or one in "\n " else json.dumps(one)[1:-1] for one in text)
