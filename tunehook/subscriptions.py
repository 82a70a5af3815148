"""Subscriptions as their owners change them: made, changed, rotated, tested; and deliveries asked for again."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, field_validator

from tunehook import event_types, samples, signature
from tunehook.address import AddressRefused, check_url
from tunehook.endpoint import MOST_ENDPOINTS, Endpoint, hint_of, is_repeat
from tunehook.errors import (
    DeliveryNotFound,
    DeliveryWithoutReceiver,
    EndpointDisabled,
    EndpointNotFound,
    InvalidParameter,
    RevisionChanged,
    TestUnanswered,
    TooManyEndpoints,
)
from tunehook.job_request import Strict, parse_as
from tunehook.model import ApiKey, Delivery, new_id
from tunehook.posting import Post
from tunehook.store import keys
from tunehook.store.commit import AlreadyThere
from tunehook.store.deliveries import DeliveryRecord
from tunehook.store.endpoints import EndpointRecord
from tunehook.world import World

log = logging.getLogger(__name__)

#: A change is tried again when a delivery's outcome has changed the record meanwhile.
TRIES = 10
RECOVER_BATCH = 100

Name = Annotated[str, Field(min_length=1, max_length=256)]
Url = Annotated[str, Field(min_length=1, max_length=2048)]


class _Typed(Strict):
    event_types: Annotated[list[str], Field(min_length=1)] | None = None

    @field_validator("event_types")
    @classmethod
    def _known_once(cls, value: list[str] | None) -> list[str] | None:
        for kind in value or []:
            if kind not in event_types.ALL:
                raise ValueError(f"has {kind[:80]!r}, which is never sent here. There is {', '.join(event_types.ALL)}")
        if value and len(set(value)) < len(value):
            raise ValueError("names a type twice")
        return value


class CreateRequest(_Typed):
    name: Name
    url: Url


class UpdateRequest(_Typed):
    name: Name | None = None
    url: Url | None = None


class RotateRequest(Strict):
    keep_old_secret_active_for_24_hours: bool = False


class TestRequest(Strict):
    __test__ = False  # not one of pytest's

    event_type: str


class RecoverRequest(Strict):
    since: Annotated[int, Field(ge=0, le=10**11)]


async def create(
    world: World, caller: ApiKey, body: dict[str, Any], *, sdk_retry: bool = False
) -> tuple[Endpoint, str]:
    """The subscription and its secret, which cannot be read again, unless an SDK repeats a call whose answer was lost:
    it gets what the first one made."""
    asked = parse_as(CreateRequest, body)
    _check_url(world, asked.url)
    if await world.store.endpoints.count(caller.project) >= MOST_ENDPOINTS:
        raise TooManyEndpoints(most=MOST_ENDPOINTS)
    secret, now = signature.new_secret(), int(time.time())
    endpoint = Endpoint(
        id=new_id("we_"),
        project=caller.project,
        name=asked.name,
        url=asked.url,
        event_types=asked.event_types or list(event_types.DEFAULT),
        created_at=now,
        updated_at=now,
        secret=world.vault.seal(secret),
        secret_hint=hint_of(secret),
    )
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    try:
        await world.store.endpoints.add(endpoint, repeat=keys.repeat(caller.id, f"endpoint:{digest}"), recall=sdk_retry)
    except AlreadyThere as made:
        endpoint = (await world.store.endpoints.read(made.value, caller.project)).endpoint
        secret = world.vault.unseal(endpoint.secret)
    return endpoint, secret


async def update(world: World, caller: ApiKey, endpoint_id: str, body: dict[str, Any]) -> Endpoint:
    """What is not named stays. A new URL begins with a clean slate."""
    asked = parse_as(UpdateRequest, body)
    if asked.url is not None:
        _check_url(world, asked.url)
    named = asked.model_dump(exclude_none=True)

    def _changed(endpoint: Endpoint) -> Endpoint:
        changed = endpoint.model_copy(update=named)
        if changed == endpoint:
            return endpoint
        fresh = {"failing_since": None} if changed.url != endpoint.url else {}
        return changed.model_copy(update={"updated_at": int(time.time()), **fresh})

    return await _change(world, caller, endpoint_id, _changed)


async def rotate(
    world: World, caller: ApiKey, endpoint_id: str, body: dict[str, Any], *, sdk_retry: bool = False
) -> tuple[Endpoint, str]:
    """The subscription and its new secret; with the overlap, both sign for 24 hours, in one header."""
    asked = parse_as(RotateRequest, body)
    secret, now = signature.new_secret(), int(time.time())
    sealed, hint, keep = world.vault.seal(secret), hint_of(secret), asked.keep_old_secret_active_for_24_hours

    def _rotated(endpoint: Endpoint) -> Endpoint:
        if is_repeat(endpoint.rotated_at, sdk_retry=sdk_retry, now=now):
            return endpoint
        return endpoint.rotated(sealed, hint, keep_old=keep, now=now)

    changed = await _change(world, caller, endpoint_id, _rotated)
    return changed, world.vault.unseal(changed.secret)


async def enable(world: World, caller: ApiKey, endpoint_id: str) -> Endpoint:
    """What failed meanwhile is not sent by itself: `recover` does that."""
    now = int(time.time())
    return await _change(world, caller, endpoint_id, lambda e: e if e.enabled else e.reenabled(now=now))


async def delete(world: World, caller: ApiKey, endpoint_id: str) -> None:
    for _ in range(TRIES):
        try:
            await world.store.endpoints.delete(await world.store.endpoints.read(endpoint_id, caller.project))
        except RevisionChanged:
            continue
        return
    raise RevisionChanged(record=endpoint_id)


async def test(world: World, caller: ApiKey, endpoint_id: str, body: dict[str, Any]) -> tuple[str, int]:
    """Sends a signed sample now; the event's type and the status code that came. Raises TestUnanswered."""
    kind = parse_as(TestRequest, body).event_type
    if kind not in event_types.ALL:
        raise InvalidParameter(param="event_type", why=f"there is {', '.join(event_types.ALL)}")
    endpoint = (await world.store.endpoints.read(endpoint_id, caller.project)).endpoint
    now = int(time.time())
    event = samples.event(kind, caller.project, now=now)
    async with Post(world.allow, world.vault) as post:
        attempt, _ = await post.send(endpoint.url, event.id, event.body, endpoint.secrets(now))
    if attempt.status_code is None:
        raise TestUnanswered(why=attempt.outcome)
    return kind, attempt.status_code


test.__test__ = False  # type: ignore[attr-defined]


async def redeliver(world: World, caller: ApiKey, delivery_id: str) -> Delivery:
    """Due now, with the same `webhook-id` and body; its schedule begins anew."""
    for _ in range(TRIES):
        record = await world.store.deliveries.read(delivery_id, caller.project)
        await _check_receiver(world, record.delivery)
        delivery = _again(record.delivery, int(time.time()))
        try:
            await world.store.commit(world.store.deliveries.again(record.change(delivery), delivery))
        except RevisionChanged:
            continue
        return delivery
    raise RevisionChanged(record=delivery_id)


async def recover(world: World, caller: ApiKey, endpoint_id: str, body: dict[str, Any]) -> int:
    """Everything that was given up since is due again; returns how many."""
    since = parse_as(RecoverRequest, body).since
    endpoint = (await world.store.endpoints.read(endpoint_id, caller.project)).endpoint
    if not endpoint.enabled:
        raise EndpointDisabled(id=endpoint.id, why=endpoint.disabled_reason)
    ids = await world.store.deliveries.failed_since(endpoint.id, since)
    count, now = 0, int(time.time())
    for start in range(0, len(ids), RECOVER_BATCH):
        records = await _records(world, ids[start : start + RECOVER_BATCH])
        changes = []
        for record in records:
            delivery = _again(record.delivery, now)
            changes.append(world.store.deliveries.again(record.change(delivery), delivery))
        outcomes = await world.store.commit_many(changes)
        count += sum(isinstance(outcome, int) for outcome in outcomes)
    return count


async def _records(world: World, ids: list[str]) -> list[DeliveryRecord]:
    found = []
    for delivery_id in ids:
        try:
            record = await world.store.deliveries.read(delivery_id)
        except DeliveryNotFound:
            continue  # its 30 days are over
        if record.delivery.state == "failed":
            found.append(record)
    return found


async def _check_receiver(world: World, delivery: Delivery) -> None:
    if delivery.endpoint_id is None:
        if await world.store.access.get(delivery.key_id or "") is None:
            raise DeliveryWithoutReceiver(id=delivery.id, why="the API key whose callback secret signs it is gone")
        return
    try:
        endpoint = (await world.store.endpoints.read(delivery.endpoint_id)).endpoint
    except EndpointNotFound:
        raise DeliveryWithoutReceiver(id=delivery.id, why="its webhook endpoint was deleted") from None
    if not endpoint.enabled:
        raise EndpointDisabled(id=endpoint.id, why=endpoint.disabled_reason)


def _again(delivery: Delivery, now: int) -> Delivery:
    begun_anew = {
        "state": "pending",
        "attempts_before": delivery.attempts,
        "next_attempt_at": now,
        "delivered_at": None,
    }
    return delivery.model_copy(update=begun_anew)


async def _change(world: World, caller: ApiKey, endpoint_id: str, changed: Callable[[Endpoint], Endpoint]) -> Endpoint:
    for _ in range(TRIES):
        record: EndpointRecord = await world.store.endpoints.read(endpoint_id, caller.project)
        endpoint = changed(record.endpoint)
        if endpoint == record.endpoint:
            return endpoint
        try:
            await world.store.endpoints.put(record, endpoint)
        except RevisionChanged:
            continue
        return endpoint
    raise RevisionChanged(record=endpoint_id)


def _check_url(world: World, url: str) -> None:
    try:
        check_url(url, world.allow)
    except AddressRefused as refused:
        raise InvalidParameter(param="url", why=str(refused.fields["rule"])) from refused
