"""Publishes webhook events: adds the event and its deliveries to the commit that changes the state.

Subscribers are read before the commit, in one read; a subscription made in between gets the next event. An event
without a subscriber is not stored.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tunehook.model.job import Job
from tunehook.model.record import new_id
from tunehook.model.webhook import Delivery, Endpoint, Event
from tunehook.openai_format import jobs
from tunehook.store.endpoints import Subscriber
from tunehook.store.engine.commit import Change
from tunehook.webhooks import Webhooks, event_types


async def publish(
    webhooks: Webhooks, change: Change, job: Job, kind: str, *, now: int, about: dict[str, Any] | None = None
) -> None:
    """Publishes an event about a job, as it is after the change. `about`: the event's data, unless it is the job.

    OpenAI's three types also go to the job's callback URL, signed by the secret of the key that submitted it.
    """
    subscribers = await webhooks.store.endpoints.subscribed(job.project, kind)
    called_back = job.callback_url if kind in event_types.DEFAULT else None
    if not subscribers and not called_back:
        return
    content = jobs.job_event_data(job, revision=change.revision + 1) if about is None else about
    event = make_event(kind, content, project=job.project, job_id=job.id, now=now)
    deliveries = [_delivery_to_endpoint(subscriber, event) for subscriber in subscribers]
    if called_back:
        deliveries.append(_callback_delivery(event, job, called_back))
    webhooks.store.deliveries.outbox(change, event, deliveries)


async def has_subscribers(webhooks: Webhooks, project: str, kind: str) -> bool:
    """Tells whether the event has a subscriber: without one, no upstream request is made for it."""
    return bool(await webhooks.store.endpoints.subscribed(project, kind))


async def publish_to_project(
    webhooks: Webhooks, change: Change, project: str, kind: str, data: dict[str, Any], *, now: int
) -> None:
    """Publishes an event about something of a project that is not a job."""
    _publish_to_all(webhooks, change, await webhooks.store.endpoints.subscribed(project, kind), kind, data, now=now)


async def publish_to_operators(
    webhooks: Webhooks, change: Change, kind: str, data: dict[str, Any], *, now: int
) -> None:
    """Publishes an event about the deployment, to the subscribers in the operators' project alone."""
    _publish_to_all(
        webhooks, change, await webhooks.store.endpoints.subscribed(webhooks.operators, kind), kind, data, now=now
    )


def endpoint_disabled_data(endpoint: Endpoint) -> dict[str, Any]:
    """Returns the data of `webhook_endpoint.disabled`."""
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "reason": endpoint.disabled_reason,
        "disabled_at": endpoint.disabled_at,
    }


def _publish_to_all(
    webhooks: Webhooks, change: Change, subscribers: list[Subscriber], kind: str, data: dict[str, Any], *, now: int
) -> None:
    for project in sorted({subscriber.project for subscriber in subscribers}):
        event = make_event(kind, data, project=project, job_id=None, now=now)
        deliveries = [
            _delivery_to_endpoint(subscriber, event) for subscriber in subscribers if subscriber.project == project
        ]
        webhooks.store.deliveries.outbox(change, event, deliveries)


def _delivery_to_endpoint(subscriber: Subscriber, event: Event) -> Delivery:
    return Delivery(
        id=new_id("dlv_"),
        event_id=event.id,
        event_type=event.type,
        project=event.project,
        job_id=event.job_id,
        endpoint_id=subscriber.endpoint_id,
        url=subscriber.url,
        lane=subscriber.endpoint_id,
        created_at=event.created_at,
        next_attempt_at=event.created_at,
    )


def _callback_delivery(event: Event, job: Job, url: str) -> Delivery:
    return Delivery(
        id=new_id("dlv_"),
        event_id=event.id,
        event_type=event.type,
        project=job.project,
        job_id=job.id,
        key_id=job.key_id,
        url=url,
        lane=receiver_of(job.project, url),
        created_at=event.created_at,
        next_attempt_at=event.created_at,
    )


def receiver_of(project: str, url: str) -> str:
    """Returns the id of a callback URL of a project as a receiver of deliveries."""
    return hashlib.sha256(f"{project}\0{url}".encode()).hexdigest()[:24]


def make_event(kind: str, content: dict[str, Any], *, project: str, job_id: str | None, now: int) -> Event:
    event_id = new_id("evt_")
    envelope = {"id": event_id, "object": "event", "created_at": now, "type": kind, "data": content}
    body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    return Event(id=event_id, type=kind, project=project, job_id=job_id, created_at=now, body=body)
