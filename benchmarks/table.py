"""How benchmarks print what they found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(title: str, rows: Iterable[Sequence[object]]) -> None:
    """Prints columns, the first to the left."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in text) for column in range(len(text[0]))]
    print(f"\n{title}")
    for row in text:
        print(
            "  ".join(
                cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )
