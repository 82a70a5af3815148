"""Reports of checks: `<data dir>/reports/<file id>.json`, and beside it the digests of the examples.

The digests, 8 bytes a line, show which examples two files share without reading either again.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tunehook.dataset.digests import Digests
from tunehook.dataset.report import Report


class Reports:
    """The files in the directory of reports. Blocking work goes to threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def save(self, file_id: str, report: Report) -> None:
        def _save() -> None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._digests(file_id).write_bytes(report.digests.to_bytes())
            self._report(file_id).write_text(json.dumps(report.to_dict(), ensure_ascii=False), "utf-8", "replace")

        await asyncio.to_thread(_save)

    async def read(self, file_id: str) -> dict[str, Any] | None:
        """Returns the report as plain JSON; None if there is none, as for result files."""

        def _read() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = json.loads(self._report(file_id).read_text("utf-8"))
            except FileNotFoundError:
                return None
            return found

        return await asyncio.to_thread(_read)

    def digests(self, file_id: str) -> Digests | None:
        """Returns the digests, or None. Blocks."""
        try:
            return Digests.from_bytes(self._digests(file_id).read_bytes())
        except FileNotFoundError:
            return None

    async def remove(self, file_id: str) -> None:
        def _remove() -> None:
            for path in (self._report(file_id), self._digests(file_id)):
                path.unlink(missing_ok=True)

        await asyncio.to_thread(_remove)

    def _report(self, file_id: str) -> Path:
        return self._directory / f"{file_id}.json"

    def _digests(self, file_id: str) -> Path:
        return self._directory / f"{file_id}.digests"
