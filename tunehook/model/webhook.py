"""Webhooks: endpoints with their secrets, events, deliveries and attempts. Pure."""

from __future__ import annotations

from typing import Literal

from tunehook.model.record import REPEAT_SECONDS, Record

#: How long both secrets sign after a rotation that keeps the old one, in seconds.
OVERLAP_SECONDS = 24 * 3600
#: Endpoints a project may have: an event is one delivery to each.
MOST_ENDPOINTS = 2000
#: Before the name in the URL of a pull endpoint: its deliveries are fetched, not sent.
PULL = "pull:"
#: Pull endpoints a project may have, and how long one stays that is not read.
MOST_PULL_ENDPOINTS, PULL_IDLE_SECONDS = 5, 7 * 24 * 3600
#: How a receiver's last attempt ended: `silent` means without an answer, `throttling` with 429, 502 or 504.
ReceiverState = Literal["answering", "throttling", "silent"]


class Endpoint(Record):
    """A webhook endpoint. Secrets are encrypted; times are unix seconds."""

    id: str
    project: str
    name: str
    url: str
    event_types: list[str]
    created_at: int
    updated_at: int
    secret: str
    secret_hint: str
    old_secret: str | None = None
    old_secret_until: int | None = None
    rotated_at: int | None = None
    disabled_at: int | None = None
    disabled_reason: str | None = None  #: in words
    failing_since: float | None = None  #: since when all attempts failed

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None

    @property
    def pulled(self) -> bool:
        """Whether its deliveries wait to be fetched."""
        return self.url.startswith(PULL)

    def secrets(self, now: float) -> list[str]:
        """Returns the encrypted secrets that sign now, the newest first."""
        return both(self.secret, self.old_secret, self.old_secret_until, now)

    def rotated(self, encrypted: str, hint: str, *, keep_old: bool, now: int) -> Endpoint:
        """Returns the endpoint with a new secret; with `keep_old`, the old one signs too for a day."""
        return self.model_copy(
            update={
                "secret": encrypted,
                "secret_hint": hint,
                "old_secret": self.secret if keep_old else None,
                "old_secret_until": now + OVERLAP_SECONDS if keep_old else None,
                "rotated_at": now,
                "updated_at": now,
            }
        )

    def disabled(self, reason: str, *, now: int) -> Endpoint:
        """Returns the endpoint disabled; `reason` in words."""
        return self.model_copy(update={"disabled_at": now, "disabled_reason": reason})

    def reenabled(self, *, now: int) -> Endpoint:
        """Returns the endpoint enabled, with the whole time again before failures disable it."""
        reset = {"disabled_at": None, "disabled_reason": None, "failing_since": None, "updated_at": now}
        return self.model_copy(update=reset)


def is_repeat(rotated_at: int | None, *, sdk_retry: bool, now: float) -> bool:
    """Returns whether an SDK retries a rotation that was made, whose answer was lost.

    Rotating again would make the secret that never arrived the old one, and the receiver's would sign no more.
    """
    return sdk_retry and rotated_at is not None and now - rotated_at < REPEAT_SECONDS


def both(secret: str, old: str | None, old_until: int | None, now: float) -> list[str]:
    """Returns the secrets that sign at `now`: the current one and, for a day, the one before."""
    return [secret, old] if old is not None and now < (old_until or 0) else [secret]


def hint_of(secret: str) -> str:
    """Returns enough of `whsec_…` to tell secrets apart: 7 of at least 32 characters."""
    return f"{secret[:10]}…{secret.rstrip('=')[-3:]}"


class Delivery(Record):
    """The delivery of one event to one receiver, named by `lane`. Its body is the event's.

    `url` is the target of the last attempt; the next attempt to an endpoint goes to the URL that it has then.
    """

    id: str
    event_id: str
    event_type: str
    project: str
    job_id: str | None = None
    key_id: str | None = None  #: the API key whose callback secret signs it
    endpoint_id: str | None = None  #: or the endpoint whose secrets sign it
    url: str
    lane: str  #: the receiver: the endpoint's id, or a digest of project and callback URL
    created_at: int
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    attempts_before: int = 0  #: made before a redelivery: the retry schedule counts from there
    next_attempt_at: int | None = None
    delivered_at: int | None = None
    last_status_code: int | None = None
    last_error: str | None = None  #: in words; None after a 2xx

    @property
    def pulled(self) -> bool:
        """Whether it waits to be fetched: nothing is sent."""
        return self.endpoint_id is not None and self.url.startswith(PULL)


class Attempt(Record):
    """One POST of a delivery. `at` is unix seconds, `seconds` its duration, `answer` its first bytes."""

    at: float
    seconds: float
    status_code: int | None = None
    outcome: str  #: in words, for the receiver's operator
    answer: str | None = None


class Event(Record):
    """An event. `body` is the exact text that is signed and sent."""

    id: str
    type: str
    project: str
    job_id: str | None = None
    created_at: int
    body: str
    traceparent: str | None = None  #: of the job's trace
