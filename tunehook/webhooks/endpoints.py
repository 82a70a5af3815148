"""What a project does with its subscriptions: create, update, rotate, enable, delete, test."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, field_validator

from tunehook.errors import InvalidParameter, PullNameTaken, TestUnanswered, TooManyEndpoints, TooManyPullEndpoints
from tunehook.model.api_key import ApiKey
from tunehook.model.record import new_id
from tunehook.model.webhook import MOST_ENDPOINTS, MOST_PULL_ENDPOINTS, PULL, Endpoint, hint_of, is_repeat
from tunehook.openai_format.request_model import Strict, parse_as
from tunehook.security import signature
from tunehook.store.engine.commit import AlreadyThere, Occupied, optimistic_update
from tunehook.webhooks import Webhooks, event_types, pull, sample_events
from tunehook.webhooks.sender import Sender

PULL_URL = re.compile(rf"{PULL}[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}", re.ASCII)
Name = Annotated[str, Field(min_length=1, max_length=256)]
Url = Annotated[str, Field(min_length=1, max_length=2048)]


class _Typed(Strict):
    event_types: Annotated[list[str], Field(min_length=1)] | None = None

    @field_validator("event_types")
    @classmethod
    def _known_once(cls, value: list[str] | None) -> list[str] | None:
        for kind in value or []:
            if kind not in event_types.ALL:
                raise ValueError(f"has {kind[:80]!r}, which is none of {', '.join(event_types.ALL)}")
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
    set: Annotated[dict[str, object], Field(max_length=32, default_factory=dict)]

    @field_validator("set")
    @classmethod
    def _of_data(cls, value: dict[str, object]) -> dict[str, object]:
        for path in value:
            if not path.startswith("data."):
                raise ValueError(f"has {path[:80]!r}: its names are paths such as data.status")
        return value


async def create(
    webhooks: Webhooks, caller: ApiKey, body: dict[str, Any], *, sdk_retry: bool = False
) -> tuple[Endpoint, str]:
    """Creates a subscription; returns it with its secret, which cannot be read again.

    An SDK that repeats a call whose answer was lost gets the subscription that the first call created.
    """
    asked = parse_as(CreateRequest, body)
    await _check_url(webhooks, caller, asked.url, sdk_retry=sdk_retry)
    if await webhooks.store.endpoints.count(caller.project) >= MOST_ENDPOINTS:
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
        secret=webhooks.encryption.encrypt(secret),
        secret_hint=hint_of(secret),
    )
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    try:
        await webhooks.store.endpoints.add(endpoint, key_id=caller.id, digest=digest, sdk_retry=sdk_retry)
    except AlreadyThere as made:
        endpoint = (await webhooks.store.endpoints.read(made.value, caller.project)).endpoint
        secret = webhooks.encryption.decrypt(endpoint.secret)
    except Occupied:
        raise TooManyPullEndpoints(most=MOST_PULL_ENDPOINTS) from None
    return endpoint, secret


async def _check_url(webhooks: Webhooks, caller: ApiKey, url: str, *, sdk_retry: bool = False) -> None:
    """Raises InvalidParameter unless it can be an endpoint's URL; PullNameTaken for another pull endpoint's."""
    if not url.startswith(PULL):
        webhooks.check_url(url, "url")
    elif not PULL_URL.fullmatch(url):
        why = "it must be pull:<name>, with a name of up to 64 letters, digits, dots, hyphens and underscores"
        raise InvalidParameter(param="url", why=why)
    elif not sdk_retry and (taken := await webhooks.store.endpoints.with_url(caller.project, url)):
        raise PullNameTaken(id=taken, url=url)


async def update(webhooks: Webhooks, caller: ApiKey, endpoint_id: str, body: dict[str, Any]) -> Endpoint:
    """Changes the members that are named. A new URL clears the failures."""
    asked = parse_as(UpdateRequest, body)
    if asked.url is not None:
        await _check_new_url(webhooks, caller, endpoint_id, asked.url)
    named = asked.model_dump(exclude_none=True)

    def _changed(endpoint: Endpoint) -> Endpoint:
        changed = endpoint.model_copy(update=named)
        if changed == endpoint:
            return endpoint
        fresh = {"failing_since": None} if changed.url != endpoint.url else {}
        return changed.model_copy(update={"updated_at": int(time.time()), **fresh})

    return await _change(webhooks, caller, endpoint_id, _changed)


async def _check_new_url(webhooks: Webhooks, caller: ApiKey, endpoint_id: str, url: str) -> None:
    """Raises InvalidParameter and PullNameTaken: deliveries wait either to be fetched or to be sent."""
    endpoint = (await webhooks.store.endpoints.read(endpoint_id, caller.project)).endpoint
    if url == endpoint.url:
        return
    if endpoint.pulled != url.startswith(PULL):
        raise InvalidParameter(param="url", why="it cannot change from or to pull:<name>. Create another endpoint")
    await _check_url(webhooks, caller, url)


async def rotate(
    webhooks: Webhooks, caller: ApiKey, endpoint_id: str, body: dict[str, Any], *, sdk_retry: bool = False
) -> tuple[Endpoint, str]:
    """Replaces the secret; returns the subscription and the new secret. On request both sign for a day."""
    asked = parse_as(RotateRequest, body)
    secret, now = signature.new_secret(), int(time.time())
    encrypted, hint = webhooks.encryption.encrypt(secret), hint_of(secret)

    def _rotated(endpoint: Endpoint) -> Endpoint:
        if is_repeat(endpoint.rotated_at, sdk_retry=sdk_retry, now=now):
            return endpoint
        return endpoint.rotated(encrypted, hint, keep_old=asked.keep_old_secret_active_for_24_hours, now=now)

    changed = await _change(webhooks, caller, endpoint_id, _rotated)
    return changed, webhooks.encryption.decrypt(changed.secret)


async def enable(webhooks: Webhooks, caller: ApiKey, endpoint_id: str) -> Endpoint:
    """Enables the subscription. Deliveries that failed meanwhile are sent by `recover` only."""
    now = int(time.time())
    return await _change(webhooks, caller, endpoint_id, lambda e: e if e.enabled else e.reenabled(now=now))


@optimistic_update
async def delete(webhooks: Webhooks, caller: ApiKey, endpoint_id: str) -> None:
    """Deletes the endpoint; its pending deliveries are given up."""
    record = await webhooks.store.endpoints.read(endpoint_id, caller.project)
    await webhooks.store.endpoints.delete(record)
    if record.endpoint.pulled:
        await webhooks.store.pull_queue.give_up(endpoint_id, caller.project)
    await webhooks.store.delivery_queue.wake_all(endpoint_id)


async def test(webhooks: Webhooks, caller: ApiKey, endpoint_id: str, body: dict[str, Any]) -> tuple[str, int]:
    """Sends a signed sample; returns the event's type and the answer's status code. Raises TestUnanswered."""
    asked = parse_as(TestRequest, body)
    kind = asked.event_type
    if kind not in event_types.ALL:
        raise InvalidParameter(param="event_type", why=f"it must be one of {', '.join(event_types.ALL)}")
    endpoint = (await webhooks.store.endpoints.read(endpoint_id, caller.project)).endpoint
    now = int(time.time())
    event = sample_events.with_members(sample_events.sample_event(kind, caller.project, now=now), asked.set)
    if endpoint.pulled:
        return kind, await pull.try_out(webhooks, endpoint, event)
    async with Sender(webhooks.allow, webhooks.encryption) as sender:
        attempt, _ = await sender.send(endpoint.url, event.id, event.body, endpoint.secrets(now))
    if attempt.status_code is None:
        raise TestUnanswered(why=attempt.outcome)
    return kind, attempt.status_code


test.__test__ = False  # type: ignore[attr-defined]


@optimistic_update
async def _change(
    webhooks: Webhooks, caller: ApiKey, endpoint_id: str, changed: Callable[[Endpoint], Endpoint]
) -> Endpoint:
    record = await webhooks.store.endpoints.read(endpoint_id, caller.project)
    endpoint = changed(record.endpoint)
    if endpoint != record.endpoint:
        await webhooks.store.endpoints.replace(record, endpoint)
    else:
        await webhooks.store.confirm()  # an earlier call may have been answered that it is not
    return endpoint
