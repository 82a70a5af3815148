"""Records of subscriptions, and the index that finds the subscribers of an event."""

from __future__ import annotations

import json

from tunehook.errors import EndpointNotFound, PullNameTaken
from tunehook.model.record import REPEAT_SECONDS
from tunehook.model.webhook import MOST_PULL_ENDPOINTS, PULL_IDLE_SECONDS, Endpoint
from tunehook.store.engine import keys
from tunehook.store.engine.commit import AlreadyThere, Change
from tunehook.store.engine.connection import Reading
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.record import Stored
from tunehook.store.indexes import common

#: A name that was taken is guarded for so long: a later call reads the record of the first.
NAME_SECONDS = 60


class EndpointRecord(Stored[Endpoint]):
    model = Endpoint
    key = staticmethod(keys.endpoint)

    @property
    def endpoint(self) -> Endpoint:
        return self.value

    def change(self, value: Endpoint, lease: Lease | None = None) -> Change:
        """Returns the change that replaces this record and its entry in the index."""
        change, index = super().change(value, lease), keys.subscriptions(value.project)
        if value.pulled and value.url != self.value.url:
            _take_name(change, value).do("DEL", keys.pull_name(value.project, self.value.url))
        if not value.enabled:
            return change.do("HDEL", index, value.id)
        return change.do("HSET", index, value.id, json.dumps({"url": value.url, "event_types": value.event_types}))


def _take_name(change: Change, endpoint: Endpoint) -> Change:
    """Adds that no other endpoint takes the name at this moment, else AlreadyThere."""
    name = keys.pull_name(endpoint.project, endpoint.url)
    change.guards.append((name, endpoint.id))
    return change.do("SET", name, endpoint.id, "EX", NAME_SECONDS)


class Endpoints:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def add(self, endpoint: Endpoint, *, key_id: str, digest: str, sdk_retry: bool = False) -> None:
        """Adds an endpoint that the API key created with a body of this digest.

        With `sdk_retry`, an SDK may repeat a call that succeeded: raises AlreadyThere, with the id of the endpoint
        that the first call created. Raises PullNameTaken, and Occupied when the project has all the pull
        endpoints that it may have.
        """
        change = EndpointRecord.new(endpoint)
        repeat = keys.repeat(key_id, f"endpoint:{digest}")
        change.do("SET", repeat, endpoint.id, "EX", REPEAT_SECONDS)
        change.guards += [(repeat, "")] if sdk_retry else []
        change.list_in(keys.endpoints(endpoint.project), endpoint.id)
        if endpoint.pulled:
            _take_name(change, endpoint)
            change.room.append((keys.pulls(endpoint.project), MOST_PULL_ENDPOINTS))
            change.at(keys.pulls(endpoint.project), endpoint.id, PULL_IDLE_SECONDS)
        change.do("SADD", keys.PROJECTS, endpoint.project)
        try:
            await self._store.commit(change)
        except AlreadyThere as found:
            raise (found if found.key == repeat else PullNameTaken(id=found.value, url=endpoint.url)) from None

    async def replace(self, record: EndpointRecord, endpoint: Endpoint) -> None:
        """Raises RevisionChanged and PullNameTaken."""
        try:
            await self._store.commit(record.change(endpoint))
        except AlreadyThere as taken:
            raise PullNameTaken(id=taken.value, url=endpoint.url) from None

    async def delete(self, record: EndpointRecord) -> None:
        """Deletes the endpoint. A delivery step gives up its pending deliveries (`DeliveryQueue.wake_all`)."""
        endpoint, change = record.endpoint, record.deletion()
        change.do("ZREM", keys.endpoints(endpoint.project), endpoint.id)
        change.do("HDEL", keys.subscriptions(endpoint.project), endpoint.id)
        if endpoint.pulled:  # the row stays until its deliveries are given up (`PullQueue.give_up`)
            change.do("ZADD", keys.pulls(endpoint.project), "XX", 0, endpoint.id)
            change.do("DEL", keys.pull_name(endpoint.project, endpoint.url))
        await self._store.commit(change)

    async def read(self, endpoint_id: str, project: str | None = None) -> EndpointRecord:
        """Raises EndpointNotFound, also for another project's endpoint, RecordTooNew and RecordUnreadable."""
        record = await EndpointRecord.read(self._store, endpoint_id)
        if record is None or (project is not None and record.endpoint.project != project):
            raise EndpointNotFound(id=endpoint_id)
        return record

    async def page(self, project: str, *, after: str | None, limit: int) -> tuple[list[Endpoint], bool]:
        """Returns a page, newest first, and if there are more. Raises EndpointNotFound for a wrong `after`."""
        ids = common(self._store, [keys.endpoints(project)], after=after, at_once=limit + 1)
        found, more = await EndpointRecord.page(self._store, ids, limit=limit)
        if after is not None:
            await self.read(after, project)  # after the search for its place, in which it may have been removed
        return [record.endpoint for record in found], more

    async def count(self, project: str) -> int:
        return int(await self._store.redis.zcard(keys.endpoints(project)))

    async def with_url(self, project: str, url: str) -> str | None:
        """Returns the id of an enabled endpoint of the project with this URL, if there is one."""
        rows = await self._store.redis.hgetall(keys.subscriptions(project))
        return next((str(name) for name, text in sorted(rows.items()) if json.loads(text)["url"] == url), None)

    @staticmethod
    def reading_subscribed(project: str) -> Reading:
        """Returns the commands of `subscribed`."""
        return (("HGETALL", keys.subscriptions(project)),)

    async def subscribed(self, project: str, event_type: str) -> dict[str, str]:
        """Returns the URLs of the project's enabled endpoints that receive this event type, by endpoint id."""
        [rows] = await self._store.ask(*self.reading_subscribed(project))
        entries = {endpoint_id: json.loads(text) for endpoint_id, text in sorted(rows.items())}
        return {name: entry["url"] for name, entry in entries.items() if event_type in entry["event_types"]}
