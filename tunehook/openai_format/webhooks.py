"""OpenAI's wire format of webhook subscriptions, with deliveries, lists and errors. Pure.

https://platform.openai.com/docs/api-reference/webhooks; our extensions are in the member `tunehook`.
"""

from __future__ import annotations

import json
from typing import Any

from tunehook.model.webhook import Attempt, Delivery, Endpoint, Event


def endpoint_object(endpoint: Endpoint, *, now: float, secret: str | None = None) -> dict[str, Any]:
    """Returns OpenAI's `webhook_endpoint`, with its secret in the one answer that shows it."""
    overlap = endpoint.old_secret_until if endpoint.old_secret and now < (endpoint.old_secret_until or 0) else None
    shown = {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
        "event_types": endpoint.event_types,
        "name": endpoint.name,
        "url": endpoint.url,
        "signing_secret_hint": endpoint.secret_hint,
        "tunehook": {
            "state": "enabled" if endpoint.enabled else "disabled",
            "disabled_reason": endpoint.disabled_reason,
            "disabled_at": endpoint.disabled_at,
            "failing_since": None if endpoint.failing_since is None else int(endpoint.failing_since),
            "old_secret_active_until": overlap,
        },
    }
    return shown if secret is None else {**shown, "signing_secret": secret}


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "object": "webhook.delivery",
        "created_at": delivery.created_at,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "job_id": delivery.job_id,
        "webhook_endpoint_id": delivery.endpoint_id,
        "url": delivery.url,
        "state": delivery.state,
        "attempt_count": delivery.attempts,
        "next_attempt_at": delivery.next_attempt_at,
        "delivered_at": delivery.delivered_at,
        "last_status_code": delivery.last_status_code,
        "last_error": delivery.last_error,
    }


def delivery_with_attempts(delivery: Delivery, event: Event, attempts: list[Attempt]) -> dict[str, Any]:
    """Returns a delivery with its payload and every attempt."""
    return {
        **delivery_object(delivery),
        "payload": json.loads(event.body),
        "attempts": [_attempt(number, attempt) for number, attempt in enumerate(attempts, 1)],
    }


def _attempt(number: int, attempt: Attempt) -> dict[str, Any]:
    delivered = attempt.status_code is not None and 200 <= attempt.status_code <= 299
    return {
        "number": number,
        "started_at": int(attempt.at),
        "duration_ms": round(attempt.seconds * 1000),
        "status_code": attempt.status_code,
        "error": None if delivered else attempt.outcome,
        "response_body": attempt.answer,
    }


def error_object(message: str, *, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
