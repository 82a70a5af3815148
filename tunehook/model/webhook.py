"""A webhook subscription: who is told of what, and how its secrets and its state change. Pure."""

from __future__ import annotations

from typing import Literal

from tunehook.model.record import REPEAT_SECONDS, Record

#: How long both secrets sign after a rotation that keeps the old one, in seconds.
OVERLAP_SECONDS = 24 * 3600
#: Subscriptions a project may have: an event is one delivery to each.
MOST_ENDPOINTS = 2000


class Endpoint(Record):
    """A subscription. Secrets are sealed (vault.py); times are unix seconds."""

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
    failing_since: float | None = None  #: since when there was nothing but failures

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None

    def secrets(self, now: float) -> list[str]:
        """The sealed secrets that sign now, the newest first."""
        return both(self.secret, self.old_secret, self.old_secret_until, now)

    def rotated(self, sealed: str, hint: str, *, keep_old: bool, now: int) -> Endpoint:
        return self.model_copy(
            update={
                "secret": sealed,
                "secret_hint": hint,
                "old_secret": self.secret if keep_old else None,
                "old_secret_until": now + OVERLAP_SECONDS if keep_old else None,
                "rotated_at": now,
                "updated_at": now,
            }
        )

    def disabled(self, reason: str, *, now: int) -> Endpoint:
        return self.model_copy(update={"disabled_at": now, "disabled_reason": reason})

    def reenabled(self, *, now: int) -> Endpoint:
        """Its failures are forgotten: it has the whole time again before it is disabled anew."""
        forgotten = {"disabled_at": None, "disabled_reason": None, "failing_since": None, "updated_at": now}
        return self.model_copy(update=forgotten)


def is_repeat(rotated_at: int | None, *, sdk_retry: bool, now: float) -> bool:
    """Whether a rotation that an SDK asks for again was made: only its answer was lost. Made once more, the secret
    that nobody got would be the old one, and the receiver's own would sign no more."""
    return sdk_retry and rotated_at is not None and now - rotated_at < REPEAT_SECONDS


def both(secret: str, old: str | None, old_until: int | None, now: float) -> list[str]:
    """The secrets that sign at `now`: the current one, and for a day after a rotation the one before."""
    return [secret, old] if old is not None and now < (old_until or 0) else [secret]


def hint_of(secret: str) -> str:
    """Enough of `whsec_…` to tell two apart, too little to guess: 7 of at least 32 characters."""
    return f"{secret[:10]}…{secret.rstrip('=')[-3:]}"


class Delivery(Record):
    """An event on its way to one receiver. The body is the event's stored bytes; `lane` is who receives.

    `url` is where the last attempt went; to an endpoint, the next one goes where the endpoint is then.
    """

    id: str
    event_id: str
    event_type: str
    project: str
    job_id: str | None = None
    key_id: str | None = None  #: whose callback secret signs it
    endpoint_id: str | None = None  #: or which endpoint's
    url: str
    lane: str
    created_at: int
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    attempts_before: int = 0  #: those made before it was asked for again: the schedule counts from there
    next_attempt_at: int | None = None
    delivered_at: int | None = None
    last_status_code: int | None = None
    last_error: str | None = None  #: in words; None after a 2xx


class Attempt(Record):
    """One POST of a delivery. `at` is unix seconds, `seconds` how long it took, `answer` its first bytes."""

    at: float
    seconds: float
    status_code: int | None = None
    outcome: str  #: in words, for who runs the receiver
    answer: str | None = None


class Event(Record):
    """What happened, once. `body` is the exact text that is signed and sent."""

    id: str
    type: str
    project: str
    job_id: str | None = None
    created_at: int
    body: str
