"""How benchmarks say what they found."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path


def table(title: str, rows: Iterable[Sequence[object]]) -> None:
    """Prints columns, the first to the left; then where and when that was."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in text) for column in range(len(text[0]))]
    print(f"\n{title}")
    for row in text:
        print(
            "  ".join(
                cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def machine() -> None:
    model = next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    load = os.getloadavg()[0]
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"{today}, Python {platform.python_version()}, {os.cpu_count()} cores of {model}, load {load:.1f}")


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
