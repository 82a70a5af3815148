"""Rows out of JSON, JSONL, CSV, TSV, text, spreadsheets and Parquet, as people write them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import Any

from tunehook.dataset import tables
from tunehook.dataset.heading import Heading, with_heading
from tunehook.dataset.rows import CannotBuild, Dropped, Row
from tunehook.dataset.shapes import ANSWERS, QUESTIONS, kind_of_text, looks_named, wrapped

TEXTS = ("json", "jsonl", "csv", "tsv", "txt")
KINDS = (*TEXTS, *tables.KINDS)
MAX_FIELD = 16 << 20
_SAMPLE_LINES = 10
_NAMES = (*QUESTIONS, *ANSWERS)
_BY_CONTENT = {"CSV": "csv", "TSV": "tsv", "text with questions and answers": "txt"}
_LABELLED = re.compile(
    r"^(?P<who>q|question|user|prompt|a|answer|assistant|completion)[ \t]*[:：][ \t]*", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a dataset is made of. `name`: said of its rows, if there are several sources."""

    content: bytes
    kind: str
    name: str = ""


def kind_for(name: str, content: bytes) -> str:
    """Returns the kind of a source, by its file name or else by its content. Raises CannotBuild."""
    suffix = PurePath(name).suffix.lower().lstrip(".")
    if suffix in KINDS:
        return suffix
    start = content[:1_000_000].removeprefix(b"\xef\xbb\xbf").lstrip()
    found = tables.kind_by_content(content) or ("jsonl" if start[:1] in (b"{", b"[") else None)
    found = found or _BY_CONTENT.get(kind_of_text(b"\n".join(start.split(b"\n")[:_SAMPLE_LINES]), ()) or "")
    if found is None:
        raise unknown(suffix or name)
    return found


def unknown(kind: str) -> CannotBuild:
    return CannotBuild(f"{kind!r} is none of {', '.join(KINDS)}.")


def read_rows(source: Source, heading: Heading, encoding: str | None = None) -> Iterator[Row | Dropped]:
    """All rows of `source`, and what was no row. Raises CannotBuild, if only while reading.

    The content decides where it is plainly not what the name says: CSV that was renamed to .jsonl is read as CSV.
    `encoding`: of a text; UTF-8, or UTF-16 with a byte order mark, unless told.
    """
    if source.kind not in KINDS:
        raise unknown(source.kind)
    table = tables.kind_by_content(source.content) or source.kind
    if table in tables.KINDS:
        return tables.read(source.content, table, heading)
    text = _text(source.content, encoding)
    kind = _actual_kind(text, source.kind)
    if kind not in ("csv", "tsv"):  # whose cells may have line ends of their own
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _READERS[kind](text, heading)


def _actual_kind(text: str, kind: str) -> str:
    lines = [line for line in text.lstrip()[:1_000_000].split("\n")[:_SAMPLE_LINES] if line.strip()]
    first = lines[0].lstrip()[:1] if lines else ""
    if kind in ("csv", "tsv"):
        return "json" if first == "{" and _parsed(lines[0]) is not None else kind
    if first in ("{", "["):
        return "jsonl" if kind == "txt" else kind
    found = kind_of_text("\n".join(lines).encode(), [value for value in map(_parsed, lines) if value is not None])
    if kind == "txt":  # a comma is no sign of a table in a text, but its heading is
        return "csv" if found == "CSV" and looks_named(lines[0].split(",")) else kind
    return _BY_CONTENT.get(found or "", kind)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


#: Codecs of Python that no file is written in.
_PYTHONS_OWN = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})


def _text(source: bytes, encoding: str | None) -> str:
    named = encoding or ("utf-16" if source.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    try:
        codec = codecs.lookup(named)
        if codec.name in _PYTHONS_OWN:
            raise LookupError(named)
        text = source.decode(codec.name if codec.name != "utf-8" else "utf-8-sig")
    except UnicodeDecodeError as error:
        if named == "utf-16":
            raise CannotBuild(f"The file is broken UTF-16: {error.reason}.") from None
        line = source.count(b"\n", 0, error.start) + 1
        if encoding:
            raise CannotBuild(f"The file is not {encoding} (line {line}).") from None
        hint = "Files of Excel and of older Windows programs are mostly cp1252: say encoding cp1252 (--encoding)"
        raise CannotBuild(f"The file is not UTF-8 (line {line}). {hint}, or save it as UTF-8.") from None
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        raise CannotBuild(f"{named[:40]!r} is no encoding that is known; try utf-8, cp1252 or utf-16.") from None
    if "\0" in text:
        raise CannotBuild("The file holds NUL characters; it may be UTF-16: say encoding utf-16-le (--encoding).")
    return text


# ---- JSON


def _json(text: str, heading: Heading, lines: bool = False) -> Iterator[Row | Dropped]:
    """A list of rows or one object, also over several lines; or one row a line. `lines`: the name says so."""
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        several = text.strip().partition("\n")
        if lines or (several[2] and several[0].endswith("}")):
            return _jsonl(text)
        raise CannotBuild(f"The file is not JSON: {error}.") from None
    if "\n" in text[start:end] and text[end:].strip():
        return _objects(text)
    if text[end:].strip() or (lines and isinstance(value, dict) and not wrapped(value)):
        return _jsonl(text)
    return _whole(value)


def _whole(value: Any) -> Iterator[Row | Dropped]:
    """The rows of a file that is one JSON value."""
    if member := wrapped(value):
        for n, row in enumerate(value[member], 1):
            inner = row.get("row") if isinstance(row, dict) and isinstance(row.get("row"), dict) else row
            cut = row.get("truncated_cells") if inner is not row else None
            yield Dropped(f"item {n}", "the dataset viewer has cut its cells") if cut else Row(inner, f"item {n}")
        return
    if isinstance(value, dict) and {name.lower() for name in value}.isdisjoint(_NAMES) and not looks_named(value):
        value = list(map(list, value.items()))
    for n, row in enumerate(value if isinstance(value, list) else [value], 1):
        yield Row(row, f"item {n}")


def _jsonl(text: str) -> Iterator[Row | Dropped]:
    for n, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield Row(json.loads(line), f"line {n}")
            except (ValueError, RecursionError):
                yield Dropped(f"line {n}", "not JSON")


def _objects(text: str) -> Iterator[Row | Dropped]:
    """Objects over several lines, one after the other."""
    decoder, at, line, counted = json.JSONDecoder(), 0, 1, 0
    while (start := re.compile(r"[^\s,]").search(text, at)) is not None:
        line, counted = line + text.count("\n", counted, start.start()), start.start()
        try:
            value, at = decoder.raw_decode(text, start.start())
            yield Row(value, f"line {line}")
        except (ValueError, RecursionError):
            yield Dropped(f"line {line}", "not JSON from here to the next line that begins with {")
            at = text.find("\n{", start.start()) + 1 or len(text)


# ---- tables and texts


def _table(text: str, heading: Heading, delimiter: str) -> Iterator[Row | Dropped]:
    """With a heading that names the columns, or else the first two columns."""
    csv.field_size_limit(MAX_FIELD)  # of the whole process; its default, 128 KiB, is less than some answers
    start = text.lstrip().partition("\n")[0]
    if delimiter == "," and ";" in start and "," not in start:
        delimiter = ";"  # what Excel writes where the comma is a decimal point
    return with_heading(_cells(text, delimiter), heading)


def _cells(text: str, delimiter: str) -> Iterator[tuple[str, list[Any]]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise CannotBuild(f"Line {rows.line_num} cannot be read: {error}.") from None
        yield f"line {rows.line_num}", row


def _labelled(text: str) -> Iterator[Row | Dropped]:
    marks = list(_LABELLED.finditer(text))
    question: tuple[str, int] | None = None
    line, counted = 1, 0
    if text[: marks[0].start()].strip():
        yield Dropped("line 1", "a text before the first label")
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() : following.start() if following else len(text)].strip()
        line, counted = line + text.count("\n", counted, mark.start()), mark.start()
        asks = mark["who"].lower() in QUESTIONS
        if asks and question:
            yield Row([question[0], ""], f"line {question[1]}")
        if asks:
            question = (body, line)
        elif question is None:
            yield Row(["", body], f"line {line}")
        else:
            yield Row([question[0], body], f"line {question[1]}")
            question = None
    if question:
        yield Row([question[0], ""], f"line {question[1]}")


def _blocks(text: str) -> Iterator[Row | Dropped]:
    """Yields blocks between empty lines (a question, its answer), or lines of question, tab, answer."""
    lines = text.split("\n")
    if all("\t" in line for line in lines if line.strip()):
        for n, line in enumerate(lines, 1):
            if line.strip():
                question, _, answer = line.partition("\t")
                yield Row([question, answer], f"line {n}")
        return
    for filled, block in groupby(enumerate(lines, 1), key=lambda numbered: bool(numbered[1].strip())):
        if filled:
            (n, question), *others = block
            yield Row([question, "\n".join(line for _, line in others)], f"line {n}")


_READERS: dict[str, Callable[[str, Heading], Iterator[Row | Dropped]]] = {
    "json": _json,
    "jsonl": lambda text, heading: _json(text, heading, lines=True),
    "csv": lambda text, heading: _table(text, heading, ","),
    "tsv": lambda text, heading: _table(text, heading, "\t"),
    "txt": lambda text, heading: _labelled(text) if _LABELLED.search(text) else _blocks(text),
}
