"""Well-known shapes that are not ours: what a line, or a file, looks like that `tunehook build` turns."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

QUESTIONS = ("question", "prompt", "user", "input", "q", "instruction", "query")
ANSWERS = ("answer", "completion", "assistant", "output", "a", "response")
_TELLING = ("messages", "conversations", "conversation", "contents", "chosen", "preferred_output")
#: Members of one object that hold the rows of a file; `rows` is the dataset viewer's, whose rows lie in `row`.
WRAPPERS = ("data", "rows", "examples", "train", "items", "records")
_BUILD = "`tunehook build FILE -o train.jsonl`"
_TABLES = f"{_BUILD} reads it, with the extra tunehook[tables]."
_LABELLED = re.compile(rb"^(?:q|question|user|prompt)[ \t]*(?::|\xef\xbc\x9a)", re.IGNORECASE | re.MULTILINE)
#: Without a byte order mark: ASCII characters, each beside a zero.
_UTF16 = re.compile(rb"(?:\0[^\0]){2}|(?:[^\0]\0){2}")
_MAGIC = {
    b"\xff\xfe\x00\x00": ("UTF-32, not UTF-8 text", ""),
    b"\xff\xfe": ("UTF-16, not UTF-8 text", ""),
    b"\xfe\xff": ("UTF-16, not UTF-8 text", ""),
    b"\x00\x00\xfe\xff": ("UTF-32, not UTF-8 text", ""),
    b"\x1f\x8b": ("compressed by gzip, not text", "Unpack it first."),
    b"PAR1": ("Parquet, not text", _TABLES),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet or an older Office file, not text", "Save it as CSV or XLSX."),
}
#: JSON that `tunehook build` makes examples of: rows that have a known name, lists of two texts, {question: answer}.
_NAMES = "|".join((*QUESTIONS, *ANSWERS, *_TELLING, *WRAPPERS))
_BUILDABLE = re.compile(rf'"(?:{_NAMES})"\s*:|^\s*\[\s*\["|^\s*\{{\s*"[^"]*"\s*:\s*"', re.IGNORECASE)
_PREFERENCE = '{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}'


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind`: how build.py turns it; `name`: for a person."""

    kind: str
    name: str

    @property
    def advice(self) -> str:
        if self.kind == "trl":
            return f"the preference format is {_PREFERENCE}. {_BUILD} turns it."
        return f"{_BUILD} turns it."


SHAREGPT = Shape("sharegpt", "ShareGPT (`conversations`)")
GEMINI = Shape("gemini", "Gemini (`contents`)")
TRL = Shape("trl", "TRL's preferences (`prompt`, `chosen`, `rejected`)")
ALPACA = Shape("pair", "Alpaca (`instruction`, `input`, `output`)")
PAIR = Shape("pair", "a question and an answer")


def shape_of(row: Any) -> Shape | None:
    """The shape of a row that is none of our formats, if it is known."""
    if isinstance(row, list):
        return PAIR if len(row) == 2 and all(isinstance(text, str) for text in row) else None
    if not isinstance(row, dict) or isinstance(row.get("messages"), list):
        return None
    there = {key.strip().lower(): value for key, value in row.items() if isinstance(key, str)}
    if _tells_who(there.get("conversations")) or _tells_who(there.get("conversation")):
        return SHAREGPT
    if isinstance(there.get("contents"), list):
        return GEMINI
    if "chosen" in there and "rejected" in there:
        return TRL
    answer = next((name for name in ANSWERS if name in there), None)
    question = next((name for name in QUESTIONS if name in there), None)
    if answer is None or question is None or not (_is_said(there[question]) and _is_said(there[answer])):
        return None
    if (question, answer) == ("prompt", "completion") and isinstance(there["prompt"], str):
        return None
    return ALPACA if "instruction" in there else PAIR


def _tells_who(value: Any) -> bool:
    """Turns whose speakers `build` knows."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and not {"from", "role"}.isdisjoint(first)


def _is_said(value: Any) -> bool:
    """A text, or turns of a conversation."""
    return not isinstance(value, dict | list) or (
        bool(value) and isinstance(value, list) and isinstance(value[0], dict)
    )


def looks_named(names: Iterable[str]) -> bool:
    """Names of columns or members by which a row is known."""
    there = {str(name).strip().lower() for name in names}
    return not (there.isdisjoint(QUESTIONS) or there.isdisjoint(ANSWERS)) or not there.isdisjoint(_TELLING)


def wrapped(value: Any) -> str | None:
    """The member of a whole file's object that holds its rows."""
    if not isinstance(value, Mapping):
        return None
    lists = (name for name in WRAPPERS if isinstance(value.get(name), list) and value[name])
    return next((name for name in lists if all(isinstance(row, dict | list) for row in value[name][:10])), None)


def other_kind(lines: Sequence[bytes], values: Sequence[Any]) -> tuple[str, str] | None:
    """The code and the message of the one finding for a file that is no JSONL, or JSONL of another shape.

    `lines`: the first of the file; `values`: those of them that are JSON, parsed.
    """
    start = next((line for line in lines if line.strip()), b"")
    for magic, (what, advice) in _MAGIC.items():
        if start.startswith(magic):
            return "wrong_encoding", f"The file is {what}. {advice}".rstrip()
    if _UTF16.match(start):
        return "wrong_encoding", "The file is UTF-16, not UTF-8 text."
    if start.startswith(b"PK\x03\x04"):
        sheet = any(name in start for name in (b"[Content_Types].xml", b"xl/", b"_rels/"))
        what, advice = ("a spreadsheet (XLSX)", _TABLES) if sheet else ("a ZIP archive", "Unpack it first.")
        return "wrong_encoding", f"The file is {what}, not text. {advice}"
    if b"\r" in start[:-1] and _is_object(start.partition(b"\r")[0]):
        return "cr_line_ends", "The lines end in CR alone (old Macintosh), so that the file is one line."
    kind = kind_of_text(b"\n".join(lines), values)
    if kind is not None:
        turned = kind != "JSON" or _BUILDABLE.search(b"\n".join(lines).decode(errors="replace"))
        return "not_jsonl", f"This is {kind}, not JSONL{f': {_BUILD} turns it' if turned else ''}."
    shapes = Counter(shape for shape in map(shape_of, values) if shape is not None)
    if shapes and 2 * shapes.total() > len(values):
        shape = shapes.most_common(1)[0][0]
        return "other_shape", f"The lines have the shape of {shape.name}: {shape.advice}"
    return None


def kind_of_text(sample: bytes, values: Sequence[Any]) -> str | None:
    """Returns JSON, CSV, TSV or "text with questions and answers"; None for what may be JSONL.

    `values`: the lines of `sample` that are JSON by themselves.
    """
    text = sample.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    stripped = text.lstrip()
    if stripped[:1] in ("{", "["):
        return "JSON" if _spans_lines(stripped) or any(map(_holds_rows, values[:1])) else None
    if not stripped or any(isinstance(value, dict | list) for value in values):
        return None
    if _LABELLED.search(sample):
        return "text with questions and answers"
    for kind, delimiter in (("TSV", "\t"), ("CSV", ","), ("CSV", ";")):
        if _is_table(stripped, delimiter):
            return kind
    return None


def _holds_rows(value: Any) -> bool:
    return bool(wrapped(value)) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict | list))


def _is_object(line: bytes | str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _spans_lines(text: str) -> bool:
    """A JSON value begins here that goes on after the line, to the end of the sample or less far."""
    line = text.find("\n")
    if line < 0 or not text[line:].strip():
        return False
    if text[0] == "{" and any(_is_object(other) for other in text[line:].split("\n") if other.startswith("{")):
        return False  # JSONL whose first line lost its end
    try:
        return json.JSONDecoder().raw_decode(text)[1] > line
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip())
    except (ValueError, RecursionError):
        return False


def _is_table(text: str, delimiter: str) -> bool:
    """At least two columns, and the same number in each line but the last, which may have been cut."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error:
        return False
    return len(rows) > 1 and len(rows[0]) > 1 and {len(row) for row in rows[:-1]} == {len(rows[0])}
