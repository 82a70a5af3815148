"""Publishes webhook events: adds the event and its deliveries to the commit that changes the state.

Subscribers are read before the commit, in one read; a subscription made in between gets the next event. An event
without a subscriber is not stored.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tunehook import telemetry
from tunehook.model.job import Job
from tunehook.model.record import new_id
from tunehook.model.webhook import Delivery, Endpoint, Event
from tunehook.openai_format import jobs, json_text
from tunehook.store.engine.commit import Change
from tunehook.webhooks import Webhooks, event_types


async def publish(
    webhooks: Webhooks, change: Change, job: Job, kind: str, *, now: int, about: dict[str, Any] | None = None
) -> None:
    """Publishes an event about a job after the change. `about`: the event's data (None: the job).

    OpenAI's three types also go to the job's callback URL, signed by the secret of the key that submitted it.
    """
    endpoints = await webhooks.store.endpoints.subscribed(job.project, kind)
    called_back = job.callback_url if kind in event_types.DEFAULT else None
    if not endpoints and not called_back:
        return
    content = jobs.job_event_data(job, revision=change.revision + 1) if about is None else about
    event = make_event(kind, content, project=job.project, job_id=job.id, now=now)
    if job.traceparent and telemetry.is_on():
        event = event.model_copy(update={"traceparent": job.traceparent})
    deliveries = [delivery_of(event, url, lane=name, endpoint_id=name) for name, url in endpoints.items()]
    if called_back:
        lane = receiver_of(job.project, called_back)
        deliveries.append(delivery_of(event, called_back, lane=lane, key_id=job.key_id))
    webhooks.store.deliveries.outbox(change, event, deliveries)


async def has_subscribers(webhooks: Webhooks, project: str, kind: str) -> bool:
    """Tells whether the event has a subscriber: without one, no upstream request is made for it."""
    return bool(await webhooks.store.endpoints.subscribed(project, kind))


async def publish_to_project(
    webhooks: Webhooks, change: Change, project: str, kind: str, data: dict[str, Any], *, now: int
) -> None:
    """Publishes an event that is not about a job; one about the deployment goes to the operators' project."""
    endpoints = await webhooks.store.endpoints.subscribed(project, kind)
    if endpoints:
        event = make_event(kind, data, project=project, job_id=None, now=now)
        deliveries = [delivery_of(event, url, lane=name, endpoint_id=name) for name, url in endpoints.items()]
        webhooks.store.deliveries.outbox(change, event, deliveries)


def endpoint_disabled_data(endpoint: Endpoint) -> dict[str, Any]:
    """Returns the data of `webhook_endpoint.disabled`."""
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "reason": endpoint.disabled_reason,
        "disabled_at": endpoint.disabled_at,
    }


def delivery_of(
    event: Event, url: str, *, lane: str, endpoint_id: str | None = None, key_id: str | None = None
) -> Delivery:
    return Delivery(
        id=new_id("dlv_"),
        event_id=event.id,
        event_type=event.type,
        project=event.project,
        job_id=event.job_id,
        endpoint_id=endpoint_id,
        key_id=key_id,
        url=url,
        lane=lane,
        created_at=event.created_at,
        next_attempt_at=event.created_at,
    )


def receiver_of(project: str, url: str) -> str:
    """Returns the id of a callback URL of a project as a receiver of deliveries."""
    return hashlib.sha256(f"{project}\0{url}".encode()).hexdigest()[:24]


def make_event(kind: str, content: dict[str, Any], *, project: str, job_id: str | None, now: int) -> Event:
    event_id = new_id("evt_")
    envelope = {"id": event_id, "object": "event", "created_at": now, "type": kind, "data": content}
    body = json_text.compact(envelope)
    return Event(id=event_id, type=kind, project=project, job_id=job_id, created_at=now, body=body)
