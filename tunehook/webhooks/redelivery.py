"""Redelivery: makes deliveries due again, one of them or all that an endpoint has missed."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from tunehook.errors import DeliveryWithoutReceiver, EndpointDisabled, EndpointNotFound
from tunehook.model.api_key import ApiKey
from tunehook.model.webhook import Delivery, Endpoint
from tunehook.openai_format.request_model import Strict, parse_as
from tunehook.store.engine.commit import optimistic_update
from tunehook.webhooks import Webhooks

RECOVER_BATCH = 100


class RecoverRequest(Strict):
    since: Annotated[int, Field(ge=0, le=10**11)]


@optimistic_update
async def redeliver(webhooks: Webhooks, caller: ApiKey, delivery_id: str) -> Delivery:
    """Makes a delivery due now, with the same `webhook-id` and body; its retry schedule begins anew."""
    record = await webhooks.store.deliveries.read(delivery_id, caller.project)
    await _check_receiver(webhooks, record.delivery)
    delivery = _again(record.delivery, int(time.time()))
    await webhooks.store.commit(webhooks.store.deliveries.again(record.change(delivery), delivery))
    return delivery


async def recover(webhooks: Webhooks, caller: ApiKey, endpoint_id: str, body: dict[str, Any]) -> int:
    """Makes every delivery due that was given up since; returns how many."""
    since = parse_as(RecoverRequest, body).since
    endpoint = (await webhooks.store.endpoints.read(endpoint_id, caller.project)).endpoint
    _check_enabled(endpoint)
    ids = await webhooks.store.deliveries.failed_since(endpoint.id, since)
    count, now = 0, int(time.time())
    for start in range(0, len(ids), RECOVER_BATCH):
        changes = []
        for record in await webhooks.store.deliveries.read_many(ids[start : start + RECOVER_BATCH]):
            if record.delivery.state == "failed":
                delivery = _again(record.delivery, now)
                changes.append(webhooks.store.deliveries.again(record.change(delivery), delivery))
        outcomes = await webhooks.store.commit_many(changes)
        count += sum(isinstance(outcome, int) for outcome in outcomes)
    return count


async def _check_receiver(webhooks: Webhooks, delivery: Delivery) -> None:
    if delivery.endpoint_id is None:
        if await webhooks.store.api_keys.get(delivery.key_id or "") is None:
            raise DeliveryWithoutReceiver(id=delivery.id, why="the API key whose callback secret signs it is gone")
        return
    try:
        endpoint = (await webhooks.store.endpoints.read(delivery.endpoint_id)).endpoint
    except EndpointNotFound:
        raise DeliveryWithoutReceiver(id=delivery.id, why="its webhook endpoint was deleted") from None
    _check_enabled(endpoint)


def _check_enabled(endpoint: Endpoint) -> None:
    if not endpoint.enabled:
        raise EndpointDisabled(id=endpoint.id, why=endpoint.disabled_reason)


def _again(delivery: Delivery, now: int) -> Delivery:
    anew = {"state": "pending", "attempts_before": delivery.attempts, "next_attempt_at": now, "delivered_at": None}
    return delivery.model_copy(update=anew)
