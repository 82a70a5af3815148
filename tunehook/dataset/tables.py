"""Spreadsheets and Parquet, by readers that others keep well: the extra tunehook[tables]."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from tunehook.dataset.heading import Heading, with_heading
from tunehook.dataset.rows import CannotBuild, Dropped, Row

_SHEETS = ("xlsx", "xls", "ods")
KINDS = (*_SHEETS, "parquet")
_BATCH = 1000  # rows of Parquet that are in memory at once
_EXTRA = "needs the extra: pip install 'tunehook[tables]'"


def kind_by_content(source: bytes) -> str | None:
    """What a file is, whatever its name says; None if it is a text."""
    if source.startswith(b"PAR1"):
        return "parquet"
    if source.startswith(b"PK\x03\x04"):
        return "ods" if b"opendocument" in source[:200] else "xlsx"
    return "xls" if source.startswith(b"\xd0\xcf\x11\xe0") else None


def read(source: bytes, kind: str, heading: Heading) -> Iterator[Row | Dropped]:
    """The rows of a spreadsheet's first sheet that has any, or of Parquet. Raises CannotBuild."""
    return _parquet(source) if kind == "parquet" else _sheet(source, heading)


def _sheet(source: bytes, heading: Heading) -> Iterator[Row | Dropped]:
    try:
        import python_calamine  # noqa: PLC0415  # an extra
    except ImportError:
        raise CannotBuild(f"Reading spreadsheets {_EXTRA}. Or save the sheet as CSV.") from None
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(source))
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise CannotBuild(f"The file is no spreadsheet that can be read: {error}. Or save the sheet as CSV.") from None
    filled = {name: rows for name, rows in sheets.items() if rows}
    if len(filled) > 1:
        heading.notes.append(f"Only the first sheet was read; not {', '.join(list(filled)[1:])}.")
    rows = next(iter(filled.values()), [])
    return with_heading(((f"row {n}", [_cell(cell) for cell in row]) for n, row in enumerate(rows, 1)), heading)


def _cell(cell: Any) -> Any:
    """Spreadsheets know no whole numbers."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _parquet(source: bytes) -> Iterator[Row | Dropped]:
    try:
        import pyarrow  # noqa: PLC0415  # an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise CannotBuild(f"Reading Parquet {_EXTRA}.") from None
    n = 0
    try:
        for batch in parquet.ParquetFile(io.BytesIO(source)).iter_batches(_BATCH):
            for n, row in enumerate(batch.to_pylist(), n + 1):  # noqa: B020
                yield Row(row, f"row {n}")
    except (pyarrow.ArrowException, OSError) as error:
        raise CannotBuild(f"The file is no Parquet that can be read: {error}.") from None
