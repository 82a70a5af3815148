"""What commands print: data on stdout, talk on stderr.

A terminal gets tables and colours, a pipe gets tab-separated rows without a heading. rich obeys NO_COLOR, FORCE_COLOR
and COLUMNS.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import TextWrapper
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.failures import NotConfirmed
from cli.lines import clean, harmless, json_text, say, tell

#: Signs and colours of a job's status or a delivery's state. A state is never told by colour alone.
SIGNS = {
    "succeeded": ("✓", "green"), "delivered": ("✓", "green"), "processed": ("✓", "green"), "enabled": ("✓", "green"),
    "failed": ("✕", "red"), "error": ("✕", "red"), "disabled": ("✕", "red"),
    "cancelled": ("–", "dim"),
    "running": ("▶", "cyan"),
    "queued": ("⏸", "yellow"), "paused": ("⏸", "yellow"), "pending": ("↻", "yellow"),
}  # fmt: skip
Cells = Sequence[object]
#: A column of a table that is wider than the first is cut when the terminal is narrow, to no less than the second.
ELASTIC, SQUEEZED = 17, 12
SPARKS = "▁▂▃▄▅▆▇█"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Shape:
    """How data is printed."""

    as_json: Annotated[bool, Parameter(name="--json", help="the API's objects, unchanged")] = False
    ids: Annotated[bool, Parameter(name=("--quiet", "-q"), help="ids alone, one a line")] = False


#: The default of a parameter of type Shape.
PLAIN = Shape()


def is_terminal() -> bool:
    """Whether stdout is read by a person."""
    return Console().is_terminal


def print_json(value: object) -> None:
    tell(json_text(value, indent=2))


def print_json_line(value: object) -> None:
    tell(json_text(value))


def print_list(head: Sequence[str], objects: Sequence[Mapping[str, Any]], rows: Iterable[Cells], shape: Shape) -> None:
    """Prints objects of the API: as JSON, their ids, or `rows`, a row of cells for each, below `head`."""
    if shape.as_json:
        print_json(list(objects))
    elif shape.ids:
        for one in objects:
            tell(clean(one["id"]))
    else:
        print_rows(head, list(rows))


def print_one(shown: Mapping[str, Any], facts: Mapping[str, object], shape: Shape) -> None:
    """Prints one object of the API: as JSON, its id, or `facts`, name → text. A fact that is None is left out."""
    if shape.as_json:
        print_json(shown)
    elif shape.ids:
        tell(clean(shown["id"]))
    else:
        print_rows((), [(name, value) for name, value in facts.items() if value is not None])


def print_rows(head: Sequence[str], rows: Sequence[Cells], *, talk: bool = False) -> None:
    """Prints a table on a terminal, tab-separated rows elsewhere. The first column is never cut.

    `talk`: on stderr.
    """
    console = Console(stderr=talk)
    if not console.is_terminal:
        for row in rows:
            (say if talk else tell)("\t".join(map(clean, row)))
        return
    if not rows:
        return
    table = Table(box=None, pad_edge=False, show_header=bool(head), header_style="bold")
    widths = _widths(head, rows, console.width)
    for number, width in widths.items():
        title = head[number] if head else ""
        cut = bool(head) and number > 0
        table.add_column(title, width=width, no_wrap=cut, overflow="ellipsis" if cut else "fold")
    for row in rows:
        table.add_row(*(_styled(clean(row[number])) for number in widths))
    console.print(table)


def _widths(head: Sequence[str], rows: Sequence[Cells], room: int) -> dict[int, int]:
    """Returns the columns that a terminal shows, and how wide each is.

    Empty columns are left out. Where there is no room, wide ones are cut, and then the last ones left out.
    """
    wide = {
        n: _width(head, rows, n) for n in range(len(rows[0])) if n == 0 or any(row[n] not in (None, "") for row in rows)
    }
    least = {n: SQUEEZED if n and width > ELASTIC else width for n, width in wide.items()}
    while len(least) > 1 and sum(least.values()) + 2 * (len(least) - 1) > room:
        least.popitem()
    spare = room - sum(least.values()) - 2 * (len(least) - 1)
    for number in sorted(least, key=lambda number: wide[number]):  # the narrower ones are whole first
        taken = min(spare, wide[number] - least[number])
        least[number] += taken
        spare -= taken
    return least


def _width(head: Sequence[str], rows: Sequence[Cells], number: int) -> int:
    cells = [_styled(clean(row[number])).cell_len for row in rows]
    return max(len(head[number]) if head else 0, *cells)


def _styled(text: str) -> Text:
    sign, style = SIGNS.get(text, ("", ""))
    return Text(f"{sign} {text}" if sign else text, style=style)


def wrapped(line: str, *, indent: int, talk: bool = False) -> str:
    """Returns a line broken between words where a terminal is narrower; for a pipe as it is. `talk`: on stderr."""
    console = Console(stderr=talk)
    if not console.is_terminal or len(line) < console.width:
        return line
    narrow = TextWrapper(
        console.width - 1, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return narrow.fill(line)


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """Draws values as a line of small bars, the mean of neighbours where there are more than `width`."""
    if not values:
        return ""
    width = min(width, len(values))
    bounds = [len(values) * place // width for place in range(width + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(bounds)]
    least, most = min(means), max(means)
    span = most - least
    return "".join(SPARKS[round((mean - least) / span * (len(SPARKS) - 1)) if span else 0] for mean in means)


def confirmed(question: str, *, yes: bool, done: str, other: str = "") -> bool:
    """Asks on the terminal. `done`, `other`: what was not done, and another way, for the error without a terminal.

    Raises NotConfirmed.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise NotConfirmed(done=done, other=other)
    try:
        sys.stderr.write(f"{harmless(question)} [y/N] ")
        sys.stderr.flush()
        return input().strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False
