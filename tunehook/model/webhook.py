"""Records of webhooks: subscriptions (endpoints), events, deliveries and their attempts. Pure."""

from __future__ import annotations

from typing import Literal

from tunehook.model.record import REPEAT_SECONDS, Record

#: How long both secrets sign after a rotation that keeps the old one, in seconds.
OVERLAP_SECONDS = 24 * 3600
#: Subscriptions a project may have: an event is one delivery to each.
MOST_ENDPOINTS = 2000
#: How a receiver's last attempt ended: `silent` means without an answer, `throttling` with 429, 502 or 504.
ReceiverState = Literal["answering", "throttling", "silent"]


class Endpoint(Record):
    """A subscription. Secrets are encrypted (security/encryption.py); times are unix seconds."""

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
    failing_since: float | None = None  #: since when every attempt has failed

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None

    def secrets(self, now: float) -> list[str]:
        """Returns the encrypted secrets that sign at `now`, the newest first."""
        return both(self.secret, self.old_secret, self.old_secret_until, now)

    def rotated(self, encrypted: str, hint: str, *, keep_old: bool, now: int) -> Endpoint:
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
        return self.model_copy(update={"disabled_at": now, "disabled_reason": reason})

    def reenabled(self, *, now: int) -> Endpoint:
        """Returns it enabled, with its failures cleared: it has the whole 120 hours again."""
        cleared = {"disabled_at": None, "disabled_reason": None, "failing_since": None, "updated_at": now}
        return self.model_copy(update=cleared)


def is_repeat(rotated_at: int | None, *, sdk_retry: bool, now: float) -> bool:
    """Tells whether an SDK repeats a rotation that was made and whose answer was lost.

    A second rotation would keep the secret that no client received as the old one, and the receiver's own would no
    longer sign.
    """
    return sdk_retry and rotated_at is not None and now - rotated_at < REPEAT_SECONDS


def both(secret: str, old: str | None, old_until: int | None, now: float) -> list[str]:
    """Returns the secrets that sign at `now`: the current one, and the one before for a day after a rotation."""
    return [secret, old] if old is not None and now < (old_until or 0) else [secret]


def hint_of(secret: str) -> str:
    """Returns 7 of the at least 32 characters of a `whsec_…`: enough to tell two apart, too few to guess."""
    return f"{secret[:10]}…{secret.rstrip('=')[-3:]}"


class Delivery(Record):
    """An event on its way to one receiver. The body is the event's stored text.

    `url` is the address of the last attempt. The next attempt to an endpoint goes to the URL it has then.
    """

    id: str
    event_id: str
    event_type: str
    project: str
    job_id: str | None = None
    key_id: str | None = None  #: whose callback secret signs it
    endpoint_id: str | None = None  #: or which endpoint's
    url: str
    lane: str  #: the receiver: the endpoint's id, or a digest of project and callback URL
    created_at: int
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    attempts_before: int = 0  #: made before the last redelivery: the retry schedule counts from there
    next_attempt_at: int | None = None
    delivered_at: int | None = None
    last_status_code: int | None = None
    last_error: str | None = None  #: in words; None after a 2xx


class Attempt(Record):
    """One POST of a delivery: `at` in unix seconds, its duration in `seconds`, the first bytes of its `answer`."""

    at: float
    seconds: float
    status_code: int | None = None
    outcome: str  #: in words, for the operator of the receiver
    answer: str | None = None


class Event(Record):
    """One webhook event. `body` is the exact text that is signed and sent."""

    id: str
    type: str
    project: str
    job_id: str | None = None
    created_at: int
    body: str
