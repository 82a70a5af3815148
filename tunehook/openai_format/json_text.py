"""Writes JSON as JavaScript would: 5 and not 5.0, 0.00001 and not 1e-05.

Many receivers verify a signature over `JSON.stringify(JSON.parse(body))` instead of the raw body. That works only
where both write the same text.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

#: Only a text with one of these can hold a number that JavaScript writes differently: no id such as `file-abc` does.
#: A pattern that begins with a letter is searched ten times as fast as one that begins with a digit.
_WHOLE, _EXPONENT = re.compile(r"\.0(?![0-9.])"), re.compile(r"e[-+](?<=[0-9]e.)[0-9]")
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SPACED = json.JSONEncoder()


def compact(value: Any) -> str:
    """Returns the JSON text of a webhook's body: no spaces, characters as they are."""
    return _written(value, _COMPACT)


def spaced(value: Any) -> str:
    """Returns the JSON text of an answer: characters outside ASCII escaped."""
    return _written(value, _SPACED)


def _written(value: Any, encoder: json.JSONEncoder) -> str:
    """Returns the text. Part by part takes ten times as long, so only where a number has an exponent."""
    text = encoder.encode(value)
    if _WHOLE.search(text) or _EXPONENT.search(text):
        text = encoder.encode(_whole_as_int(value))
    return _part_by_part(value, encoder) if _EXPONENT.search(text) else text


def _whole_as_int(value: Any) -> Any:
    """Returns the value with an int for each float that JavaScript writes as one: 5 for 5.0."""
    if isinstance(value, dict):
        return {name: _whole_as_int(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_as_int(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _part_by_part(value: Any, encoder: json.JSONEncoder) -> str:
    comma, colon = encoder.item_separator, encoder.key_separator

    def _text(part: Any) -> str:
        if isinstance(part, float):
            return _number(part)
        if isinstance(part, dict):
            return "{" + comma.join(f"{_text(str(name))}{colon}{_text(inner)}" for name, inner in part.items()) + "}"
        if isinstance(part, list | tuple):
            return "[" + comma.join(map(_text, part)) + "]"
        return encoder.encode(part)

    return _text(value)


def _number(value: float) -> str:
    size = abs(value)
    if value.is_integer() and size < 1e21:
        return str(int(value))
    if 1e-6 <= size < 1e21:
        return f"{Decimal(repr(value)):f}"
    return json.dumps(value).replace("e-0", "e-")
