"""Words for wrong values: our own for pydantic's findings, and the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic_core import ErrorDetails

_WORDS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must have the form {pattern}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
    "too_long": "must have at most {max_length} entries",
    "path_type": "must be a path",
}

#: Of a name that is not known.
MOST_CHARS = 80


def in_words(found: ErrorDetails) -> str:
    """Returns what is wrong with a value, without the value: it may be a secret."""
    words = _WORDS.get(found["type"])
    if words is None:
        return found["msg"].removeprefix("Value error, ")
    limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in found.get("ctx", {}).items()}
    return words.format(**limits)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question that names the nearest known name, with a blank before it; nothing if none is near.

    A known name may be a path with dots: its last part is compared, and the first path of several is shown. Of `name`,
    the beginning is compared: a megabyte of it would take a tenth of a second.
    """
    if name in ("extra_body", "extra_query", "extra_headers"):
        return f" `{name}` is the Python SDK's; with others, such as Node's, write what is in it beside the rest."
    shown: dict[str, str] = {}
    for path in known:
        shown.setdefault(path.rpartition(".")[2], path)
    near = difflib.get_close_matches(name[:MOST_CHARS], shown, n=1)
    return f" Did you mean {shown[near[0]]}?" if near else ""
