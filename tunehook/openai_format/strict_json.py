"""Reads request bodies: the dataset checker's strict JSON, and one sentence to the client where it is not.

aiohttp's own `request.json()` turns malformed, non-UTF-8, very deep and 5,000-digit bodies into a 500, and takes
NaN, duplicate keys, lone surrogates and 1e999.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tunehook.dataset import strict_json
from tunehook.errors import InvalidBody

#: Marks (`[ { , :`) of a body: a MiB of brackets would take 0.4 s to read. Of `pairs` and of a chat, more.
MARKS, LARGE_MARKS = 20_000, 200_000
#: An exponent, or as many digits as make a float infinite.
_MAY_OVERFLOW = re.compile(rb"[0-9.][eE]|[0-9]{300}")
_MARKS = (b"[", b"{", b",", b":")


def parse_object(body: bytes, marks: int = MARKS) -> dict[str, Any]:
    """Returns the object. Raises InvalidBody, whose message says what to correct."""
    if not body.strip():
        raise InvalidBody(why="it is empty")
    if _has_more_than(marks, body):
        raise InvalidBody(why=f"it has too many members and elements: about {marks // 4:,} are the most")
    parsed = strict_json.parse(body)
    if parsed.found:
        _, path, why = parsed.found[0]
        raise InvalidBody(why=why.removesuffix(".") + ("" if path == "$" else f" ({path[:80]})"))
    if not isinstance(parsed.value, dict):
        raise InvalidBody(why="it must be a JSON object")
    try:
        if _MAY_OVERFLOW.search(body):
            json.dumps(parsed.value, allow_nan=False)
    except ValueError:
        raise InvalidBody(why="a number is too large, such as 1e999") from None
    return parsed.value


def _has_more_than(marks: int, body: bytes) -> bool:
    """Whether there are more marks outside strings, or a quarter as many brackets. A few passes over the bytes."""
    if sum(map(body.count, _MARKS)) <= marks // 4:
        return False
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 4 * marks:
        return True
    outside = b"".join(plain.split(b'"')[::2])
    return sum(map(outside.count, _MARKS)) > marks or outside.count(b"{") + outside.count(b"[") > marks // 4
