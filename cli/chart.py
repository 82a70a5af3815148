"""Draws a curve in the terminal, of braille dots: two by four in a character."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

Point = tuple[float, float]
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800


def chart(points: Sequence[Point], *, width: int = 80, height: int = 10) -> Iterator[str]:
    """Yields the lines of a curve with its axes.

    `points`: step and value, by step. `width`, `height`: in characters.
    """
    if not points:
        return
    (first, _), (last, _) = points[0], points[-1]
    low, high = min(value for _, value in points), max(value for _, value in points)
    names = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(map(len, names))
    columns, rows = 2 * max(1, width - margin - 2), 4 * height
    places = [
        (
            round((columns - 1) * (step - first) / ((last - first) or 1)),
            round((rows - 1) * (high - value) / ((high - low) or 1)),
        )
        for step, value in points
    ]
    cells = [[_BLANK] * (columns // 2) for _ in range(height)]
    for x, y in (places[0], *(dot for pair in pairwise(places) for dot in _between(*pair))):
        cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    for number, row in enumerate(cells):
        name = names[0] if number == 0 else names[1] if number == height - 1 else ""
        yield f"{name:>{margin}} ┤{''.join(map(chr, row)).rstrip(chr(_BLANK))}"
    ends = f"{last:g}"
    yield f"{'':>{margin}}  {f'{first:g}':<{max(1, columns // 2 - len(ends))}}{ends}"


def _between(one: tuple[int, int], other: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yields the dots of a straight line."""
    (x, y), (to_x, to_y) = one, other
    count = max(abs(to_x - x), abs(to_y - y), 1)
    for number in range(count + 1):
        yield x + round((to_x - x) * number / count), y + round((to_y - y) * number / count)
