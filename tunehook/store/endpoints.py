"""Records of subscriptions, and the index that finds the subscribers of an event."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from tunehook.errors import EndpointNotFound, RecordUnreadable
from tunehook.model.record import REPEAT_SECONDS
from tunehook.model.webhook import Endpoint
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import unavailable
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EndpointRecord:
    endpoint: Endpoint
    revision: int

    def change(self, endpoint: Endpoint) -> Change:
        """Returns the change that replaces this record and its entry in the index."""
        change = Change(
            record=keys.endpoint(endpoint.id),
            revision=self.revision,
            document=endpoint.model_dump_json(exclude_none=True),
        )
        return _index(change, endpoint)


@dataclass(frozen=True)
class Subscriber:
    """An enabled endpoint that receives an event."""

    endpoint_id: str
    project: str
    url: str


class Endpoints:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def add(self, endpoint: Endpoint, *, key_id: str, digest: str, sdk_retry: bool = False) -> EndpointRecord:
        """Adds an endpoint that the API key created with a body of this digest.

        With `sdk_retry`, an SDK may repeat a call that succeeded: raises AlreadyThere, with the id of the endpoint
        that the first call created.
        """
        change = EndpointRecord(endpoint, 0).change(endpoint)
        repeat = keys.repeat(key_id, f"endpoint:{digest}")
        change.do("SET", repeat, endpoint.id, "EX", REPEAT_SECONDS)
        change.guards += [(repeat, "")] if sdk_retry else []
        change.list_in(keys.endpoints(endpoint.project), endpoint.id)
        change.do("SADD", keys.PROJECTS, endpoint.project)
        await self._store.commit(change)
        return EndpointRecord(endpoint, 1)

    async def put(self, record: EndpointRecord, endpoint: Endpoint) -> EndpointRecord:
        """Writes the endpoint. Raises RevisionChanged when another request has changed it."""
        await self._store.commit(record.change(endpoint))
        return EndpointRecord(endpoint, record.revision + 1)

    async def delete(self, record: EndpointRecord) -> None:
        """Deletes the endpoint. A delivery step gives up its pending deliveries (`DeliveryQueue.wake_all`)."""
        endpoint = record.endpoint
        change = Change(record=keys.endpoint(endpoint.id), revision=record.revision, delete=True)
        change.do("ZREM", keys.endpoints(endpoint.project), endpoint.id)
        change.do("HDEL", keys.subscriptions(endpoint.project), endpoint.id)
        await self._store.commit(change)

    async def read(self, endpoint_id: str, project: str | None = None) -> EndpointRecord:
        """Reads an endpoint. Raises EndpointNotFound, also for another project's, and RecordUnreadable."""
        with unavailable():
            fields = await self._store.redis.hgetall(keys.endpoint(endpoint_id))
        record = parse(fields, endpoint_id)
        if record is None or (project is not None and record.endpoint.project != project):
            raise EndpointNotFound(id=endpoint_id)
        return record

    async def page(self, project: str, *, after: str | None, limit: int) -> tuple[list[Endpoint], bool]:
        """Returns a page, newest first, and whether there are more. Raises EndpointNotFound for an unknown `after`."""
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
                rows = await pipe.execute()
        found = [_readable(fields, endpoint_id) for endpoint_id, fields in zip(ids, rows, strict=True)]
        return [endpoint for endpoint in found if endpoint is not None][:limit], len(ids) > limit

    async def count(self, project: str) -> int:
        with unavailable():
            return int(await self._store.redis.zcard(keys.endpoints(project)))

    async def subscribed(self, project: str, event_type: str) -> list[Subscriber]:
        """Returns the project's enabled subscriptions to this event type."""
        [rows] = await self._store.ask(("HGETALL", keys.subscriptions(project)))
        return list(_subscribers(project, rows, event_type))


def parse(fields: dict[str, str], endpoint_id: str) -> EndpointRecord | None:
    """Parses the fields of an endpoint's record; None if there is none. Raises RecordUnreadable."""
    if not fields:
        return None
    try:
        return EndpointRecord(Endpoint.model_validate_json(fields["doc"]), int(fields["rev"]))
    except (KeyError, ValueError) as error:
        raise RecordUnreadable(record=endpoint_id, why=type(error).__name__) from error


def _readable(fields: dict[str, str], endpoint_id: str) -> Endpoint | None:
    try:
        record = parse(fields, endpoint_id)
    except RecordUnreadable as error:  # one unreadable record must not hide the others
        log.warning("an endpoint is left out of the list: %s", error.message)
        return None
    return record.endpoint if record else None


def _index(change: Change, endpoint: Endpoint) -> Change:
    index = keys.subscriptions(endpoint.project)
    if not endpoint.enabled:
        return change.do("HDEL", index, endpoint.id)
    entry = json.dumps({"url": endpoint.url, "event_types": endpoint.event_types})
    return change.do("HSET", index, endpoint.id, entry)


def _subscribers(project: str, rows: dict[str, str], event_type: str) -> list[Subscriber]:
    found = []
    for endpoint_id, text in sorted(rows.items()):
        entry = json.loads(text)
        if event_type in entry["event_types"]:
            found.append(Subscriber(endpoint_id, project, entry["url"]))
    return found
