"""Subscriptions, and the index that says who is told of what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunehook.endpoint import Endpoint
from tunehook.errors import EndpointNotFound
from tunehook.store import keys
from tunehook.store.commit import Change
from tunehook.store.connection import unavailable

if TYPE_CHECKING:
    from tunehook.store.store import Store


@dataclass(frozen=True)
class EndpointRecord:
    endpoint: Endpoint
    revision: int

    def change(self, endpoint: Endpoint) -> Change:
        """A change of this record into `endpoint`, and of the index with it."""
        change = Change(
            record=keys.endpoint(endpoint.id),
            revision=self.revision,
            document=endpoint.model_dump_json(exclude_none=True),
        )
        return _index(change, endpoint)


@dataclass(frozen=True)
class Subscriber:
    """Who is told."""

    endpoint_id: str
    project: str
    url: str


class Endpoints:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, endpoint: Endpoint) -> EndpointRecord:
        change = EndpointRecord(endpoint, 0).change(endpoint)
        change.list_in(keys.endpoints(endpoint.project), endpoint.id)
        change.do("SADD", keys.PROJECTS, endpoint.project)
        await self._store.commit(change)
        return EndpointRecord(endpoint, 1)

    async def put(self, record: EndpointRecord, endpoint: Endpoint) -> EndpointRecord:
        """Raises RevisionChanged when somebody was faster."""
        await self._store.commit(record.change(endpoint))
        return EndpointRecord(endpoint, record.revision + 1)

    async def delete(self, record: EndpointRecord) -> None:
        """What is still on its way to it is given up by its lane."""
        endpoint = record.endpoint
        change = Change(record=keys.endpoint(endpoint.id), revision=record.revision, delete=True)
        change.do("ZREM", keys.endpoints(endpoint.project), endpoint.id)
        change.do("HDEL", keys.subscriptions(endpoint.project), endpoint.id)
        change.wake(f"lane:{endpoint.id}")
        await self._store.commit(change)

    async def read(self, endpoint_id: str, project: str | None = None) -> EndpointRecord:
        """Raises EndpointNotFound, also for another project's."""
        with unavailable():
            fields = await self._store.redis.hgetall(keys.endpoint(endpoint_id))
        record = parse(fields)
        if record is None or (project is not None and record.endpoint.project != project):
            raise EndpointNotFound(id=endpoint_id)
        return record

    async def page(self, project: str, *, after: str | None, limit: int) -> tuple[list[Endpoint], bool]:
        """Newest first, and whether there are more. Raises EndpointNotFound for an unknown `after`."""
        start, index = 0, keys.endpoints(project)
        if after is not None:
            await self.read(after, project)
            with unavailable():
                start = int(await self._store.redis.zrevrank(index, after) or 0) + 1
        with unavailable():
            ids = await self._store.redis.zrevrange(index, start, start + limit)
            async with self._store.redis.pipeline(transaction=False) as pipe:
                for endpoint_id in ids:
                    pipe.hgetall(keys.endpoint(endpoint_id))
                found = [parse(fields) for fields in await pipe.execute()]
        return [record.endpoint for record in found if record is not None][:limit], len(ids) > limit

    async def count(self, project: str) -> int:
        with unavailable():
            return int(await self._store.redis.zcard(keys.endpoints(project)))

    async def subscribed(self, project: str, event_type: str) -> list[Subscriber]:
        """The project's enabled subscriptions to this type."""
        [rows] = await self._store.ask(("HGETALL", keys.subscriptions(project)))
        return list(_subscribers(project, rows, event_type))


def parse(fields: dict[str, str]) -> EndpointRecord | None:
    if not fields.get("doc"):
        return None
    return EndpointRecord(Endpoint.model_validate_json(fields["doc"]), int(fields["rev"]))


def _index(change: Change, endpoint: Endpoint) -> Change:
    index = keys.subscriptions(endpoint.project)
    if not endpoint.enabled:
        change.do("HDEL", index, endpoint.id)
        return change.wake(f"lane:{endpoint.id}")
    entry = json.dumps({"url": endpoint.url, "event_types": endpoint.event_types})
    return change.do("HSET", index, endpoint.id, entry)


def _subscribers(project: str, rows: dict[str, str], event_type: str) -> list[Subscriber]:
    found = []
    for endpoint_id, text in sorted(rows.items()):
        entry = json.loads(text)
        if event_type in entry["event_types"]:
            found.append(Subscriber(endpoint_id, project, entry["url"]))
    return found
