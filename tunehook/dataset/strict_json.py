"""Strict JSON: a fast decoder for good lines, and a slow one that says what is wrong.

jiter (a dependency of the openai package) refuses all that RFC 8259 refuses, and duplicate keys, at about twice the
speed of json.loads. What it refuses is read again by `explain`. tests/unit/dataset/test_strict_json.py checks that the
two agree: what jiter takes, `explain` takes with the same value and no finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jiter import from_json

from tunehook.dataset.codes import has_error
from tunehook.dataset.findings import shown

MAX_DEPTH = 200  # jiter's own limit
MAX_DIGITS = 4300  # what int() converts; the limit of Python, so of many upstreams
# A line of brackets becomes 25 times as large in memory. No text has so many: it would be cut at 65,536 tokens.
LONG, MAX_MARKS = 1 << 20, 500_000
MAX_FOUND = 1000  # in one line
KEY_CHARS = 40  # of a member's name in a path
Found = tuple[str, str, str]  # code, JSON path, message


def too_intricate(line: bytes) -> bool:
    return len(line) > LONG and sum(map(line.count, (b"{", b"[", b","))) > MAX_MARKS


def fast(line: bytes) -> Any:
    """Returns the value of a line. Raises ValueError. (A partial would take 0.15 µs a line longer.)"""
    return from_json(line, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True)


TOO_MANY: Found = (
    "line_too_intricate",
    "$",
    f"More than {MAX_FOUND:,} findings in one line; the rest was not looked for.",
)


class _Constant(float):
    """NaN or an infinity, by name."""


class _Digits(str):
    """An integer too long to convert."""


class _Repeated(dict[str, Any]):
    """An object that named some members more than once."""

    names: list[str]


@dataclass
class Parsed:
    """`value` is only to be used when `found` has no error."""

    value: Any = None
    found: list[Found] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return not has_error(code for code, _, _ in self.found)


def parse(line: bytes) -> Parsed:
    """Reads one line. Never raises."""
    try:
        return Parsed(fast(line))
    except ValueError as refused:
        parsed = explain(line)
        if not parsed.found:
            parsed.found.append(("invalid_json", "$", f"Not JSON: {refused}."))
        return parsed


def explain(line: bytes) -> Parsed:
    """Reads one line slowly, and finds all that a strict decoder would refuse. Never raises."""
    if b"\0" in line:
        return Parsed(None, [("nul_byte", "$", f"A NUL byte at byte {line.index(0) + 1}.")])
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        at = f"byte {error.start + 1} (0x{line[error.start]:02x})"
        return Parsed(None, [("invalid_utf8", "$", f"Not UTF-8 at {at}.")])
    try:
        value = _decoder.decode(text.strip(" \t\r\n"))
    except RecursionError:
        return Parsed(None, [("too_deep", "$", f"Nested more than {MAX_DEPTH} levels deep.")])
    except json.JSONDecodeError as error:
        near = shown(text[max(0, error.pos - 20) : error.pos + 20])
        return Parsed(
            None, [("invalid_json", "$", f"{error.msg.removesuffix(' at')} at character {error.pos + 1}, near {near}.")]
        )
    found = list(islice(_walk(value, "$", 1), MAX_FOUND + 1))
    if len(found) > MAX_FOUND:
        found[MAX_FOUND:] = [TOO_MANY]
    return Parsed(value, found)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    repeated = _Repeated(pairs)
    seen: set[str] = set()
    repeated.names = [k for k, _ in pairs if k in seen or seen.add(k)]  # type: ignore[func-returns-value]
    return repeated


def _integer(digits: str) -> int | _Digits:
    return int(digits) if len(digits) <= MAX_DIGITS else _Digits(digits)


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_Constant)


def _walk(value: Any, path: str, depth: int) -> Iterator[Found]:
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        yield "too_deep", path[:200], f"Nested more than {MAX_DEPTH} levels deep."
    elif isinstance(value, dict):
        if isinstance(value, _Repeated):
            for name in value.names:
                yield "duplicate_key", member(path, name), f"The member {shown(name)} comes twice."
        for key, inner in value.items():
            yield from _surrogate(key, path)
            yield from _walk(inner, member(path, key), depth + 1)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{i}]", depth + 1)
    elif isinstance(value, _Digits):
        yield "number_too_long", path, f"A number of {len(value):,} digits."
    elif isinstance(value, _Constant):
        yield "not_a_number", path, f"{json.dumps(value)} is not JSON."
    elif isinstance(value, str):
        yield from _surrogate(value, path)


def _surrogate(text: str, path: str) -> Iterator[Found]:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            yield "lone_surrogate", path, f"{half} at character {error.start + 1} is half of a pair."


def member(path: str, key: str) -> str:
    """Returns the JSON path of an object's member. A long name is cut: each finding has a path of its own."""
    if key.isidentifier() and key.isascii() and len(key) <= KEY_CHARS:
        return f"{path}.{key}"
    safe = key[:KEY_CHARS].encode(errors="replace").decode()
    return f"{path}[{json.dumps(safe)}]"
