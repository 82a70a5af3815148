"""The first row of a table: does it name the columns?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from tunehook.dataset.rows import CannotBuild, Dropped, Row
from tunehook.dataset.shapes import looks_named

_WORDS = frozenset(
    """
    answer antwort assistant body category class comment completion content context description domanda email frage
    id index input instruction intent label language message name output pregunta prompt question query rating reply
    respuesta response review risposta score sentence sentiment source subject summary system tag target text title
    topic translation type user utterance
    """.split()  # noqa: SIM905  # a list of fifty quoted words is no easier to read
)


@dataclass(slots=True)
class Heading:
    """`told`: whether the first row is a heading; None: by what it holds. `columns`: that were named to be used.
    `notes`: what was decided, in words."""

    told: bool | None = None
    columns: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)


def with_heading(rows: Iterable[tuple[str, list[Any]]], heading: Heading) -> Iterator[Row | Dropped]:
    """Rows by column. Without a heading the first two columns are question and answer. Raises CannotBuild.

    `rows`: where each stands, and its cells.
    """
    filled = ((at, row) for at, row in rows if any(str(cell).strip() for cell in row if cell is not None))
    names: list[str] | None = None
    for n, (at, row) in enumerate(filled):
        if n == 0:
            names = _names(row, heading)
            if names is not None:
                continue
        if names is None and len(row) < 2:
            yield Dropped(at, "only one column")
            continue
        columns = names or ["question", "answer"]
        more = [f"column {i}" for i in range(len(columns) + 1, len(row) + 1)]
        # Chained, as the first row may have 100,000 times as many columns as the others.
        yield Row(dict(zip(chain(columns, more), row, strict=False)), at)


def _names(row: list[Any], heading: Heading) -> list[str] | None:
    """The names of the columns if the row is a heading. Raises CannotBuild where that has to be asked."""
    names = ["" if cell is None else str(cell).strip() for cell in row]
    lower = [name.lower() for name in names]
    missing = [name for name in heading.columns if name.lower() not in lower]
    if missing:
        raise CannotBuild(f"There is no column {missing[0]!r} in the first row: {', '.join(names)[:200]}.")
    if heading.told is False:
        return None
    if heading.columns or heading.told or looks_named(names):
        return [name or f"column {i}" for i, name in enumerate(names, 1)]
    if not _looks_like_names(names):
        return None
    shown = ", ".join(names)[:200]
    if len(names) != 2:
        ask = "say which columns are the question and the answer (--question, --answer), or that it is none"
        raise CannotBuild(f"The first row looks like a heading: {shown}. Please {ask} (--heading no).")
    heading.notes.append(f"The first row was taken for a heading: {shown}. If it is an example, say --heading no.")
    return ["question", "answer"]


def _looks_like_names(names: list[str]) -> bool:
    words = [[word for word in re.split(r"[\s_-]+", name.lower()) if word] for name in names]
    return len(names) > 1 and all((len(w) < 4 and not _WORDS.isdisjoint(w)) or not w for w in words) and any(words)
