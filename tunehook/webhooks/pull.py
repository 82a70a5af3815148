"""Pull endpoints: hands out deliveries to readers, and notes what became of each.

Nothing is sent. A delivery is leased to one reader at a time; one of which nothing is reported is handed out again when
its lease ends. A failure that is reported is retried on the schedule of all webhooks, and disables no endpoint.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Annotated, Any

from pydantic import Field

from tunehook.errors import (
    EndpointNotFound,
    MissingParameter,
    NotPending,
    NotPulled,
    RevisionChanged,
    TestUnanswered,
)
from tunehook.model.api_key import ApiKey
from tunehook.model.webhook import Attempt, Delivery, Endpoint, Event
from tunehook.openai_format.request_model import Strict, parse_as
from tunehook.store.engine.commit import optimistic_update
from tunehook.store.pull_queue import HandedOut
from tunehook.webhooks import Webhooks, attempts, publishing, retry_policy
from tunehook.webhooks.retry_policy import Outcome, Verdict
from tunehook.webhooks.sender import ANSWER_BYTES, ATTEMPT_SECONDS, signed_headers

#: An attempt takes 15 s at most where Tunehook makes it.
LEASE_SECONDS = 30.0
LOOK_SECONDS = 0.25


class ReportRequest(Strict):
    nullable = frozenset({"status_code", "error", "response_body", "retry_after"})

    status_code: Annotated[int, Field(ge=100, le=599)] | None = None
    error: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    duration_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0.0
    response_body: str | None = None
    started_at: Annotated[float, Field(ge=0, le=10**11)] | None = None
    retry_after: Annotated[str, Field(max_length=100)] | None = None


async def endpoint_of(webhooks: Webhooks, caller: ApiKey, endpoint_id: str) -> Endpoint:
    """Returns a pull endpoint of the caller's project. Raises EndpointNotFound and NotPulled."""
    endpoint = (await webhooks.store.endpoints.read(endpoint_id, caller.project)).endpoint
    if not endpoint.pulled:
        raise NotPulled(id=endpoint.id, url=endpoint.url)
    return endpoint


async def hand_out(
    webhooks: Webhooks,
    endpoint_id: str,
    *,
    reader: str,
    limit: int,
    lease_seconds: float = LEASE_SECONDS,
    after: str | None = None,
    job: str | None = None,
) -> tuple[list[tuple[HandedOut, dict[str, Any]]], bool]:
    """Leases due deliveries to a reader; returns each with its object for the wire, and whether more are due.

    Raises EndpointNotFound.
    """
    endpoint = (await webhooks.store.endpoints.read(endpoint_id)).endpoint
    found, more = await webhooks.store.pull_queue.hand_out(
        endpoint, reader=reader, lease_seconds=lease_seconds, limit=limit, after=after, job=job
    )
    now = time.time()
    secrets = [webhooks.encryption.decrypt(secret) for secret in endpoint.secrets(now)] if found else []
    return [(one, _handed_out_object(one, secrets, int(now))) for one in found], more


def _handed_out_object(one: HandedOut, secrets: list[str], now: int) -> dict[str, Any]:
    """Returns a delivery with the headers and the body that would be posted."""
    delivery, event = one.delivery, one.event
    return {
        "id": delivery.id,
        "object": "webhook.delivery.handed_out",
        "event_id": event.id,
        "event_type": event.type,
        "job_id": delivery.job_id,
        "created_at": delivery.created_at,
        "attempt": delivery.attempts + 1,
        "leased_until": math.ceil(one.until / 1000),
        "headers": signed_headers(secrets, event.id, now, event.body.encode())
        | ({"traceparent": event.traceparent} if event.traceparent else {}),
        "body": event.body,
    }


@optimistic_update
async def report(webhooks: Webhooks, caller: ApiKey, delivery_id: str, body: dict[str, Any]) -> Delivery:
    """Notes an attempt that a reader has made. One that is reported again, with its `started_at`, is noted once.

    Raises DeliveryNotFound, NotPulled and NotPending.
    """
    asked = parse_as(ReportRequest, body)
    if asked.status_code is None and asked.error is None:
        raise MissingParameter(param="status_code")
    record = await webhooks.store.deliveries.read(delivery_id, caller.project)
    delivery, now = record.delivery, time.time()
    if not delivery.pulled:
        raise NotPulled(id=delivery.id, url=delivery.url)
    attempt, outcome = _attempt(asked, now)
    if asked.started_at is not None and attempt in await webhooks.store.deliveries.attempts(delivery_id):
        return delivery
    if delivery.state != "pending":
        raise NotPending(id=delivery.id, state=delivery.state)
    changed, pause = attempts.after(delivery, attempt, outcome, now=now, jitter=webhooks.jitter())
    change = webhooks.store.deliveries.attempted(record, changed, attempt)
    await webhooks.store.commit(webhooks.store.deliveries.plan(change, changed, pause))
    attempts.log_attempt(changed, attempt)
    return changed


def _attempt(asked: ReportRequest, now: float) -> tuple[Attempt, Outcome]:
    if asked.status_code is None:
        outcome = Outcome(Verdict.FAILED, asked.error or "")
    else:
        outcome = retry_policy.answered(asked.status_code, asked.retry_after, now=now)
    seconds = round(asked.duration_ms / 1000, 4)
    beginning = (asked.response_body or "").encode(errors="replace")[:ANSWER_BYTES].decode(errors="ignore")
    attempt = Attempt(
        at=now - seconds if asked.started_at is None else asked.started_at,
        seconds=seconds,
        status_code=asked.status_code,
        outcome=outcome.reason,
        answer=beginning or None,
    )
    return attempt, outcome


async def try_out(webhooks: Webhooks, endpoint: Endpoint, event: Event) -> int:
    """Leaves a sample event for the endpoint's readers; returns the status code that one reports.

    Raises TestUnanswered after 15 s; the event stays to be fetched.
    """
    store = webhooks.store
    delivery = publishing.delivery_of(event, endpoint.url, lane=endpoint.id, endpoint_id=endpoint.id)
    await store.commit(store.deliveries.sample(event, delivery))
    until = time.monotonic() + ATTEMPT_SECONDS
    while time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
        first = next(iter(await store.deliveries.attempts(delivery.id)), None)
        if first is not None and first.status_code is None:
            raise TestUnanswered(why=first.outcome)
        if first is not None and first.status_code is not None:
            return first.status_code
    why = f"no reader of {endpoint.url} has reported within {ATTEMPT_SECONDS:.0f} s. It stays to be fetched"
    raise TestUnanswered(why=why)


async def delete_idle(webhooks: Webhooks) -> int:
    """Deletes the pull endpoints that were not read for seven days; returns how many."""
    store, count = webhooks.store, 0
    for project in await store.api_keys.projects():
        for endpoint_id in await store.pull_queue.idle(project):
            try:
                await store.endpoints.delete(await store.endpoints.read(endpoint_id))
                count += 1
            except EndpointNotFound:
                pass  # deleted, by a process that then ended
            except RevisionChanged:
                continue  # changed at this moment: at the next sweep
            await store.pull_queue.give_up(endpoint_id, project)
    return count
