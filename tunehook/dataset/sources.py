"""Sources: reads question and answer pairs from JSON, JSONL, CSV, TSV and text, as people write them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import Any

KINDS = ("json", "jsonl", "csv", "tsv", "txt")
QUESTIONS = ("question", "prompt", "user", "input", "q", "instruction")
ANSWERS = ("answer", "completion", "assistant", "output", "a", "response")
MAX_FIELD = 16 << 20
_LABELLED = re.compile(
    r"^(?P<who>q|question|user|prompt|a|answer|assistant|completion)[ \t]*[:：][ \t]*", re.IGNORECASE | re.MULTILINE
)


class CannotBuild(ValueError):
    """The source holds nothing that a dataset could be made of."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer. `at`: where they are in the source, for a person: "row 4", "line 12"."""

    question: str
    answer: str
    at: str


@dataclass(frozen=True, slots=True)
class Dropped:
    at: str
    why: str


def kind_of(name: str) -> str:
    """Returns the kind of a source by its file name. Raises CannotBuild."""
    suffix = PurePath(name).suffix.lower().lstrip(".")
    if suffix not in KINDS:
        raise unknown(suffix or name)
    return suffix


def unknown(kind: str) -> CannotBuild:
    if kind in ("xlsx", "xls", "ods"):
        return CannotBuild("Spreadsheets are not read: save the sheet as CSV.")
    return CannotBuild(f"{kind!r} is none of {', '.join(KINDS)}.")


def read_pairs(source: bytes, kind: str) -> Iterator[Pair | Dropped]:
    """Yields the pairs of `source`, and what is dropped. Raises CannotBuild, perhaps while reading."""
    if kind not in _READERS:
        raise unknown(kind)
    return _READERS[kind](_text(source))


def _text(source: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if source.startswith(mark):
            try:
                return source.decode(encoding)
            except UnicodeDecodeError as error:
                raise CannotBuild(f"The file is broken UTF-16: {error.reason}.") from None
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise CannotBuild(f"The file is not UTF-8 (line {line}): save it as UTF-8.") from None


def _named(row: dict[Any, Any], at: str) -> Pair | Dropped:
    """Returns the pair in an object, by the names that its members may have."""
    lower = {str(key).strip().lower(): value for key, value in row.items()}
    found = [next((lower[name] for name in names if name in lower), None) for names in (QUESTIONS, ANSWERS)]
    for value, names in zip(found, (QUESTIONS, ANSWERS), strict=True):
        if value is not None and not isinstance(value, str | int | float):
            return Dropped(at, f"`{names[0]}` is not a text")
    if found == [None, None]:
        return Dropped(at, f"neither `{QUESTIONS[0]}` nor `{ANSWERS[0]}`; it has {', '.join(lower)[:80] or 'nothing'}")
    question, answer = ("" if value is None else str(value) for value in found)
    return Pair(question, answer, at)


def _from_value(value: Any, at: str) -> Pair | Dropped:
    if isinstance(value, dict):
        return _named(value, at)
    if isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value):
        return Pair(value[0], value[1], at)
    return Dropped(at, "neither an object nor a list of two texts")


def _json(text: str) -> Iterator[Pair | Dropped]:
    """Reads a list of objects or of [question, answer]; or one object {question: answer, …}."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(lines := text.split("\n")) > 1 and lines[0].strip().endswith("}"):
            return _jsonl(text)  # JSONL under the name .json is common
        raise CannotBuild(f"The file is not JSON: {error}.") from None
    if isinstance(value, dict) and not {str(key).lower() for key in value} & {*QUESTIONS, *ANSWERS}:
        value = list(map(list, value.items()))
    rows = value if isinstance(value, list) else [value]
    return (_from_value(row, f"item {n}") for n, row in enumerate(rows, 1))


def _jsonl(text: str) -> Iterator[Pair | Dropped]:
    for n, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _from_value(json.loads(line), f"line {n}")
            except (ValueError, RecursionError):
                yield Dropped(f"line {n}", "not JSON")


def _table(text: str, delimiter: str) -> Iterator[Pair | Dropped]:
    """Reads the columns that a heading names, or else the first two."""
    csv.field_size_limit(MAX_FIELD)  # of the whole process; its default, 128 KiB, is less than some answers
    start = text.lstrip().partition("\n")[0]
    if delimiter == "," and ";" in start and "," not in start:
        delimiter = ";"  # what Excel writes where the comma is a decimal point
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    heading: list[str] | None = None
    first = True
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise CannotBuild(f"Line {rows.line_num} cannot be read: {error}.") from None
        if not any(cell.strip() for cell in row):
            continue
        names = [cell.strip().lower() for cell in row]
        if first and {*names} & {*QUESTIONS} and {*names} & {*ANSWERS}:
            heading = names
        elif heading is not None:
            yield _named(dict(zip(heading, row, strict=False)), f"line {rows.line_num}")
        elif len(row) < 2:
            yield Dropped(f"line {rows.line_num}", "only one column")
        else:
            yield Pair(row[0], row[1], f"line {rows.line_num}")
        first = False


def _txt(text: str) -> Iterator[Pair | Dropped]:
    """Reads JSONL under another name, "Q: … A: …" with labels, or blocks of question and answer lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip().startswith("{"):
        return _jsonl(text)
    return _labelled(text) if _LABELLED.search(text) else _blocks(text)


def _labelled(text: str) -> Iterator[Pair | Dropped]:
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
            yield Pair(question[0], "", f"line {question[1]}")
        if asks:
            question = (body, line)
        elif question is None:
            yield Pair("", body, f"line {line}")
        else:
            yield Pair(question[0], body, f"line {question[1]}")
            question = None
    if question:
        yield Pair(question[0], "", f"line {question[1]}")


def _blocks(text: str) -> Iterator[Pair | Dropped]:
    """Reads blocks between empty lines: a question and its answer; or lines of question, tab, answer."""
    lines = text.split("\n")
    if all("\t" in line for line in lines if line.strip()):
        for n, line in enumerate(lines, 1):
            if line.strip():
                question, _, answer = line.partition("\t")
                yield Pair(question, answer, f"line {n}")
        return
    for filled, block in groupby(enumerate(lines, 1), key=lambda numbered: bool(numbered[1].strip())):
        if filled:
            (n, question), *others = block
            yield Pair(question, "\n".join(line for _, line in others), f"line {n}")


_READERS: dict[str, Callable[[str], Iterator[Pair | Dropped]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": lambda text: _table(text, ","),
    "tsv": lambda text: _table(text, "\t"),
    "txt": _txt,
}
