"""One strict JSON reader, for every body that comes in.

aiohttp's own `request.json()` turns malformed, non-UTF-8, very deep and 5,000-digit bodies into a 500, and the
standard library accepts NaN, duplicate keys, lone surrogates and 1e999. Here each is one sentence to the client.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from tunehook.errors import InvalidBody

MAX_DEPTH = 64
MAX_DIGITS = 300  # beyond what a double holds, and far below Python's 4,300-digit limit
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(body: bytes) -> Any:
    """The value of a JSON document in UTF-8. Raises InvalidBody, whose message says what to correct."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBody(why=f"byte {error.start} is not UTF-8") from None
    if not text.strip():
        raise InvalidBody(why="it is empty")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        raise InvalidBody(why=f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise InvalidBody(why=f"it is nested more than {MAX_DEPTH} levels deep") from None
    _check_depth(value)
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value)
    return value


def parse_object(body: bytes) -> dict[str, Any]:
    """Like `parse`, for the bodies that must be an object."""
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidBody(why="it must be a JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidBody(why=f"the member {name[:80]!r} occurs twice in one object")
            seen.add(name)
    return members


def _no_constant(name: str) -> Any:
    raise InvalidBody(why=f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidBody(why=f"the number {text[:40]} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InvalidBody(why=f"a number has {len(text)} digits")
    return int(text)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = (
            [
                child
                for container in level
                for child in (container.values() if isinstance(container, dict) else container)
                if isinstance(child, dict | list)
            ]
            if isinstance(level[0] if level else None, dict | list)
            else []
        )
        if not level:
            return
    raise InvalidBody(why=f"it is nested more than {MAX_DEPTH} levels deep")


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidBody(why="a string has half of a surrogate pair (\\ud800 to \\udfff)") from None
