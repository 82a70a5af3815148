"""Reports of checks: `reports/<file id>.json`, and beside it the digests of the examples.

The digests, 8 bytes a line, show which examples two files share without reading either again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from tunehook.dataset.digests import Digests
from tunehook.dataset.report import Report
from tunehook.files.place import Place

P = ParamSpec("P")
T = TypeVar("T")
#: More than any of the two has: digests of four million lines have 32 MiB.
MOST_BYTES = 256 * 1024 * 1024


class Runs(Protocol):
    """Does things in the place that belongs to this Redis (storage.py)."""

    place: Place

    async def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs) -> T: ...


class Reports:
    """Every method may raise DataDirUnavailable."""

    def __init__(self, storage: Runs) -> None:
        self._storage = storage

    async def save(self, file_id: str, report: Report) -> None:
        text = json.dumps(report.to_dict(), ensure_ascii=False).encode("utf-8", "replace")
        for name, content in ((_digests(file_id), report.digests.to_bytes()), (_report(file_id), text)):
            await self._storage.run(self._storage.place.put, name, content, safe=False)

    async def read(self, file_id: str) -> dict[str, Any] | None:
        """Returns the report as plain JSON; None if there is none, as for result files."""
        raw = await self._read(_report(file_id))
        return None if raw is None else json.loads(raw)

    async def digests(self, file_id: str) -> Digests | None:
        raw = await self._read(_digests(file_id))
        return None if raw is None else Digests.from_bytes(raw)

    async def remove(self, file_id: str) -> None:
        for name in (_report(file_id), _digests(file_id)):
            await self._storage.run(self._storage.place.remove, name)

    async def _read(self, name: str) -> bytes | None:
        try:
            return await self._storage.run(self._storage.place.piece, name, 0, MOST_BYTES)
        except FileNotFoundError:
            return None


def _report(file_id: str) -> str:
    return f"reports/{file_id}.json"


def _digests(file_id: str) -> str:
    return f"reports/{file_id}.digests"
