"""Attempts: the delivery that follows from one, and its log line. Dispatch and pull endpoints use both."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from tunehook.model.webhook import Attempt, Delivery
from tunehook.webhooks import retry_policy
from tunehook.webhooks.retry_policy import Outcome, Verdict

#: The name that filters of logs know, for attempts of dispatch and of pull endpoints.
log = logging.getLogger("tunehook.webhooks.dispatch")


def after(
    delivery: Delivery, attempt: Attempt, outcome: Outcome, *, now: float, jitter: float
) -> tuple[Delivery, float | None]:
    """Returns the delivery after an attempt, and the seconds until the next one (None: none). Pure."""
    attempts = delivery.attempts + 1
    again_at = retry_policy.next_attempt(attempts - delivery.attempts_before, outcome, now=now, jitter=jitter)
    delivered = outcome.verdict is Verdict.DELIVERED
    changed = {
        "attempts": attempts,
        "state": "delivered" if delivered else "failed" if again_at is None else "pending",
        "next_attempt_at": None if again_at is None else int(again_at),
        "delivered_at": int(now) if delivered else None,
        "last_status_code": attempt.status_code,
        "last_error": None if delivered else outcome.reason,
    }
    return delivery.model_copy(update=changed), None if again_at is None else again_at - now


def log_attempt(delivery: Delivery, attempt: Attempt) -> None:
    host = delivery.url if delivery.pulled else urlsplit(delivery.url).hostname  # a path may hold a token
    text = f"attempt {delivery.attempts}: {attempt.outcome}"
    log.info("webhook %s of job %s to %s: %s, %s", delivery.id, delivery.job_id or "-", host, delivery.state, text)
