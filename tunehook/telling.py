"""Who is told of what: an event and its deliveries, added to the change of state that they tell of.

Subscribers are looked up before the commit, in one read; a subscription made in between is told of the next.
Where nobody is to be told there is no event.
"""

from __future__ import annotations

from typing import Any

from tunehook import event_types, wire
from tunehook.endpoint import Endpoint
from tunehook.model import Delivery, Event, Job, new_id
from tunehook.store.commit import Change
from tunehook.store.endpoints import Subscriber
from tunehook.world import World


async def tell(
    world: World, change: Change, job: Job, kind: str, *, now: int, about: dict[str, Any] | None = None
) -> None:
    """Of a job, as it is after the change. `about`: the event's data where it is not the job itself.

    OpenAI's three also go to the job's own callback, signed by the secret of the key that submitted it.
    """
    subscribers = await world.store.endpoints.subscribed(job.project, kind)
    called_back = job.callback_url if kind in event_types.DEFAULT else None
    if not subscribers and not called_back:
        return
    content = wire.job_event_data(job, revision=change.revision + 1) if about is None else about
    event = wire.event(kind, content, project=job.project, job_id=job.id, now=now)
    deliveries = [_to(subscriber, event) for subscriber in subscribers]
    if called_back:
        deliveries.append(_back(event, job, called_back))
    world.store.deliveries.outbox(change, event, deliveries)


async def is_told(world: World, project: str, kind: str) -> bool:
    """Whether anybody asked for it: what costs a request is not done for nobody."""
    return bool(await world.store.endpoints.subscribed(project, kind))


async def tell_project(
    world: World, change: Change, project: str, kind: str, data: dict[str, Any], *, now: int
) -> None:
    """Of something of a project that is no job."""
    _tell_all(world, change, await world.store.endpoints.subscribed(project, kind), kind, data, now=now)


async def tell_operators(world: World, change: Change, kind: str, data: dict[str, Any], *, now: int) -> None:
    """Of what concerns the deployment: who asked for it by name in the operators' project, and no other tenant."""
    _tell_all(world, change, await world.store.endpoints.subscribed(world.operators, kind), kind, data, now=now)


def disabled(endpoint: Endpoint) -> dict[str, Any]:
    """What `webhook_endpoint.disabled` says."""
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "reason": endpoint.disabled_reason,
        "disabled_at": endpoint.disabled_at,
    }


def _tell_all(
    world: World, change: Change, subscribers: list[Subscriber], kind: str, data: dict[str, Any], *, now: int
) -> None:
    for project in sorted({subscriber.project for subscriber in subscribers}):
        event = wire.event(kind, data, project=project, job_id=None, now=now)
        told = [_to(subscriber, event) for subscriber in subscribers if subscriber.project == project]
        world.store.deliveries.outbox(change, event, told)


def _to(subscriber: Subscriber, event: Event) -> Delivery:
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


def _back(event: Event, job: Job, url: str) -> Delivery:
    return Delivery(
        id=new_id("dlv_"),
        event_id=event.id,
        event_type=event.type,
        project=job.project,
        job_id=job.id,
        key_id=job.key_id,
        url=url,
        lane=wire.lane_of(job.project, url),
        created_at=event.created_at,
        next_attempt_at=event.created_at,
    )
