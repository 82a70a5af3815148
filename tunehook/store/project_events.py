"""What changes in a project: a Redis stream of the ids of changed jobs and deliveries, written by the commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue

START = "0-0"


@dataclass(frozen=True)
class Changed:
    """A record that has changed. `position` (`<ms>-<n>`) orders changes and is the cursor to resume from."""

    position: str
    kind: str  #: `job` or `delivery`
    id: str


class ProjectEvents:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def newest(self, project: str) -> str:
        """Returns the position of the last change."""
        [rows] = await self._store.ask(("XREVRANGE", keys.project_events(project), "+", "-", "COUNT", "1"))
        return str(rows[0][0]) if rows else START

    async def reaches_back_to(self, project: str, position: str) -> bool:
        """Returns whether all changes behind a position are still there.

        They are not when the stream has lost its oldest ones, or is another one: Redis was restored or emptied.
        """
        stream = keys.project_events(project)
        if not await self._store.redis.exists(stream):
            return position == START
        about = await self._store.redis.xinfo_stream(stream)
        first = (about["first-entry"] or [about["last-generated-id"]])[0]
        behind = order(position) <= order(about["last-generated-id"])
        return behind and (order(position) >= order(first) or about.get("entries-added", 0) <= about["length"])

    async def after(self, project: str, position: str, limit: int) -> list[Changed]:
        """Returns changes behind a position, the oldest first."""
        rows = await self._store.redis.xrange(keys.project_events(project), f"({position}", "+", count=limit)
        return _changes(rows)

    async def read(self, positions: Mapping[str, str], limit: int, seconds: float) -> dict[str, list[Changed]]:
        """Returns the changes behind these positions, by project; waits up to `seconds` for one if there are none."""
        projects = {keys.project_events(project): project for project in positions}
        streams = {keys.project_events(project): position for project, position in positions.items()}
        found = await self._store.redis.xread(streams, count=limit, block=int(seconds * 1000))
        return {projects[name]: _changes(rows) for name, rows in dict(found).items()}


def order(position: str) -> tuple[int, int]:
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number)


def last_of_each(changes: Iterable[Changed]) -> list[Changed]:
    """Returns the last change of each record, in order: a record is shown as it is now."""
    by_record: dict[tuple[str, str], Changed] = {}
    for changed in changes:
        by_record.pop((changed.kind, changed.id), None)
        by_record[changed.kind, changed.id] = changed
    return list(by_record.values())


def _changes(rows: Iterable[tuple[str, Mapping[str, str]]]) -> list[Changed]:
    return [Changed(position, fields["kind"], fields["id"]) for position, fields in rows]
