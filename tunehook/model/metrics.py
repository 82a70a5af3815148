"""Metrics of a training: a row for each step, from an upstream's events and from its result file. Pure."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

#: A step and what was measured at it, by column.
Row = dict[str, float]
STEP = "step"
#: Columns of a row, and rows of a result file, that are kept at most.
COLUMNS, ROWS = 32, 200_000
#: What is in an event's data beside metrics.
_NO_METRICS = frozenset({"total_steps", "blocked"})
#: Result files call the accuracy otherwise than events do.
_NAMES = {"train_accuracy": "train_mean_token_accuracy", "valid_accuracy": "valid_mean_token_accuracy"}


def row_of(data: Mapping[str, Any] | None) -> Row | None:
    """Returns the row in the data of a metrics event; None if it has none."""
    values = {name: _number(value) for name, value in (data or {}).items() if name not in _NO_METRICS}
    row = {name[:64]: value for name, value in list(values.items())[:COLUMNS] if value is not None}
    return row if len(row) > 1 and _is_step(row.get(STEP)) else None


def line_of(row: Row) -> str:
    """Returns a row as a line of JSON, with its end."""
    return json.dumps({name: _short(value) for name, value in row.items()}, separators=(",", ":")) + "\n"


def rows_of_csv(content: bytes) -> list[Row]:
    """Returns the rows of a result file; none of a file that is not such a table."""
    table = csv.DictReader(io.StringIO(content.decode("utf-8", "replace")))
    rows: list[Row] = []
    try:
        for cells in table:
            named = {_NAMES.get(name, name): cell for name, cell in cells.items() if isinstance(name, str)}
            row = row_of({name: _parsed(cell) for name, cell in named.items()})
            if row is not None:
                rows.append(row)
            if len(rows) == ROWS:
                break
    except csv.Error:
        return []
    return rows


def rows_of_lines(text: str) -> list[Row]:
    """Returns the rows by step, from the lines of `line_of`; of two for one step, the later members count."""
    lines: list[Row] = json.loads(f"[{','.join(text.splitlines())}]")
    return merged(lines)


def merged(rows: Iterable[Row]) -> list[Row]:
    by_step: dict[float, Row] = {}
    for row in rows:
        step = row[STEP]
        by_step[step] = by_step[step] | row if step in by_step else row
    return [by_step[step] for step in sorted(by_step)]


def missing(known: Iterable[Row], rows: Iterable[Row]) -> list[Row]:
    """Returns of `rows` what is not known: whole rows, and single columns with their step."""
    by_step = {row[STEP]: row for row in known}
    found = []
    for row in rows:
        had = by_step.get(row[STEP], {})
        more = {name: value for name, value in row.items() if name == STEP or name not in had}
        if len(more) > 1:
            found.append(more)
    return found


def columns(rows: Iterable[Row], after_step: int | None = None) -> dict[str, list[float | None]]:
    """Returns the rows behind a step by column; None where a step lacks a value."""
    wanted = [row for row in rows if after_step is None or row[STEP] > after_step]
    names = dict.fromkeys(name for row in wanted for name in row)
    return {name: [row.get(name) for row in wanted] for name in {STEP: None} | names}


def as_csv(table: Mapping[str, list[float | None]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return out.getvalue()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 and math.isfinite(value) else None


def _is_step(value: float | None) -> bool:
    return value is not None and value == int(value) and 0 <= value < 2**53


def _short(value: float) -> float:
    """Returns a number without digits that no curve shows: they are half of what is sent."""
    return int(value) if value == int(value) and abs(value) < 2**53 else float(f"{value:.6g}")


def _parsed(cell: object) -> float | None:
    try:
        return float(cell) if isinstance(cell, str) else None
    except ValueError:
        return None
