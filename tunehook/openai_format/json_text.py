"""Writes JSON as JavaScript would: 5 and not 5.0, 0.00001 and not 1e-05.

Many receivers verify a signature over `JSON.stringify(JSON.parse(body))` instead of the raw body. That works only
where both write the same text.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

#: Only a text with one of these can hold a number that JavaScript writes differently.
_DIFFERS = re.compile(r"\.0|[eE][-+]")


def compact(value: Any) -> str:
    """Returns the JSON text of a webhook's body: no spaces, characters as they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _written(value, ensure_ascii=False, comma=",", colon=":") if _DIFFERS.search(text) else text


def spaced(value: Any) -> str:
    """Returns the JSON text of an answer: characters outside ASCII escaped."""
    text = json.dumps(value)
    return _written(value, ensure_ascii=True, comma=", ", colon=": ") if _DIFFERS.search(text) else text


def _written(value: Any, *, ensure_ascii: bool, comma: str, colon: str) -> str:
    def _text(part: Any) -> str:
        if isinstance(part, float):
            return _number(part)
        if isinstance(part, dict):
            return "{" + comma.join(f"{_text(str(name))}{colon}{_text(inner)}" for name, inner in part.items()) + "}"
        if isinstance(part, list | tuple):
            return "[" + comma.join(map(_text, part)) + "]"
        return json.dumps(part, ensure_ascii=ensure_ascii)

    return _text(value)


def _number(value: float) -> str:
    size = abs(value)
    if value.is_integer() and size < 1e21:
        return str(int(value))
    if 1e-6 <= size < 1e21:
        return f"{Decimal(repr(value)):f}"
    return json.dumps(value).replace("e-0", "e-")
