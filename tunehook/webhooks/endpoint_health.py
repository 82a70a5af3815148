"""Judges an endpoint by each attempt: 410 disables it, and so do 120 hours of nothing but failures."""

from __future__ import annotations

import logging

from tunehook.errors import EndpointNotFound, RevisionChanged
from tunehook.store.endpoints import EndpointRecord
from tunehook.webhooks import Webhooks, event_types, publishing, retry_policy
from tunehook.webhooks.retry_policy import Outcome

log = logging.getLogger(__name__)


async def judge(webhooks: Webhooks, known: EndpointRecord, outcome: Outcome, *, now: float, url: str) -> None:
    """Notes failures on the endpoint, disables it if need be, and publishes that.

    `known`: the record as the step read it. `url`: where the attempt went. An endpoint whose URL was changed or that
    was enabled meanwhile is judged by its next attempt.
    """
    if _stays(known, outcome, now):
        return
    try:
        # Read again: it may have been renamed, rotated or enabled since the step read it.
        record = await webhooks.store.endpoints.read(known.endpoint.id)
        if record.endpoint.url != url or not record.endpoint.enabled or _stays(record, outcome, now):
            return
        since = retry_policy.failing_since(outcome, record.endpoint.failing_since, now=now)
        why = retry_policy.disabled_because(outcome, since, now=now)
        endpoint = record.endpoint.model_copy(update={"failing_since": since})
        change = record.change(endpoint)
        if why is not None:
            endpoint = endpoint.disabled(why, now=int(now))
            change = record.change(endpoint)
            data = publishing.endpoint_disabled_data(endpoint)
            kind = event_types.ENDPOINT_DISABLED
            await publishing.publish_to_project(webhooks, change, endpoint.project, kind, data, now=int(now))
        await webhooks.store.commit(change)
    except (EndpointNotFound, RevisionChanged):
        return  # deleted, or changed by another program at this moment: the next attempt decides
    if why is not None:
        log.warning("endpoint %s is disabled: %s", endpoint.id, why)
        await webhooks.store.delivery_queue.wake_all(endpoint.id)


def _stays(record: EndpointRecord, outcome: Outcome, now: float) -> bool:
    """Tells whether the attempt changes nothing about the endpoint."""
    since = retry_policy.failing_since(outcome, record.endpoint.failing_since, now=now)
    return since == record.endpoint.failing_since and not retry_policy.disabled_because(outcome, since, now=now)
