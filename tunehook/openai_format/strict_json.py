"""Reads request bodies: the dataset checker's strict JSON, and one sentence to the client where it is not.

aiohttp's own `request.json()` turns malformed, non-UTF-8, very deep and 5,000-digit bodies into a 500, and takes
NaN, duplicate keys, lone surrogates and 1e999.
"""

from __future__ import annotations

import json
from typing import Any

from tunehook.dataset import strict_json
from tunehook.errors import InvalidBody


def parse_object(body: bytes) -> dict[str, Any]:
    """Returns the object. Raises InvalidBody, whose message says what to correct."""
    if not body.strip():
        raise InvalidBody(why="it is empty")
    parsed = strict_json.parse(body)
    if parsed.found:
        _, path, why = parsed.found[0]
        raise InvalidBody(why=why.removesuffix(".") + ("" if path == "$" else f" ({path[:80]})"))
    if not isinstance(parsed.value, dict):
        raise InvalidBody(why="it must be a JSON object")
    try:
        json.dumps(parsed.value, allow_nan=False)
    except ValueError:
        raise InvalidBody(why="a number is too large, such as 1e999") from None
    return parsed.value
