"""The retry policy: what follows from an attempt. Pure: the time and the jitter are arguments.

An attempt leads to an `Outcome` (`answered`, `unanswered`). From it follow the delivery's next attempt
(`next_attempt`), the receiver's rest (`rest`) and whether the endpoint is disabled (`disabled_because`).
"""

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

_MINUTE, _HOUR = 60.0, 3600.0
# The example of Standard Webhooks: ten attempts, the first at once, the tenth 75 h 35 min later.
PAUSES = (5.0, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR)
MAX_ATTEMPTS = len(PAUSES) + 1
JITTER = 0.2  # each pause is up to this much shorter or longer, so that many do not retry at the same moment
DISABLE_AFTER = 120 * _HOUR  # of nothing but failures, as Svix does
_REST = (5.0, 300.0)  # rest of a throttling receiver: without Retry-After, and at most with it


class Verdict(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"
    THROTTLED = "throttled"  # failed, and all other deliveries to the receiver wait too
    GONE = "gone"  # failed, and the receiver asks for no more


class Fault(StrEnum):
    """Why an attempt got no answer, in words for the operator of the receiver."""

    TIMEOUT = "your server did not answer within 15 s: answer first, then do the work"
    NAME = "the host name of the URL could not be resolved"
    CONNECTION = "no connection could be made to your server"
    TLS = "the TLS handshake failed: look at the certificate, its chain and its host name"
    BROKEN = "the connection broke before an answer was complete"
    GARBAGE = "what your server answered is not HTTP"
    ADDRESS = "webhooks are not sent to this address"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt. `retry_after`: the seconds that the receiver asked for, not yet bounded."""

    verdict: Verdict
    reason: str
    retry_after: float | None = None


def answered(status: int, retry_after: str | None = None, *, now: float) -> Outcome:
    """Returns the outcome of an answer. `retry_after`: the header as it came; `now`: unix seconds."""
    wait = parse_retry_after(retry_after, now=now) if retry_after else None
    return Outcome(_verdict(status), _in_words(status), wait)


def unanswered(fault: Fault, detail: str = "") -> Outcome:
    """Returns the outcome of an attempt without an answer."""
    return Outcome(Verdict.FAILED, f"{fault} ({detail})" if detail else str(fault))


def next_attempt(attempts_made: int, outcome: Outcome, *, now: float, jitter: float) -> float | None:
    """Returns the time of the next attempt, unix seconds like `now`; None: delivered, gone, exhausted.

    `attempts_made` counts the one that led to `outcome`: 1 after the first. `jitter` is a random number from 0 to 1.
    `Retry-After` can stretch a pause to twice its length and never shortens it (as at Svix), so a receiver cannot
    hold up a delivery for ever.
    """
    if outcome.verdict in (Verdict.DELIVERED, Verdict.GONE) or attempts_made >= MAX_ATTEMPTS:
        return None
    pause = PAUSES[max(attempts_made, 1) - 1] * (1 - JITTER + 2 * JITTER * jitter)
    return now + min(max(pause, outcome.retry_after or 0.0), 2 * pause)


def rest(outcome: Outcome) -> float:
    """Returns the seconds for which nothing is sent to the receiver: 0 unless it throttles."""
    if outcome.verdict is not Verdict.THROTTLED:
        return 0.0
    least, most = _REST
    return min(max(least, outcome.retry_after or 0.0), most)


def failing_since(outcome: Outcome, before: float | None, *, now: float) -> float | None:
    """Returns since when every attempt has failed. `before`: the last such result, None at first."""
    if outcome.verdict is Verdict.DELIVERED:
        return None
    return now if before is None else before


def disabled_because(outcome: Outcome, since: float | None, *, now: float) -> str | None:
    """Returns in words why the endpoint is disabled now; None: it stays. `since` is from `failing_since`."""
    if outcome.verdict is Verdict.GONE:
        return "your server answered 410 Gone, which asks for no more webhooks"
    if outcome.verdict is not Verdict.DELIVERED and since is not None and now - since >= DISABLE_AFTER:
        hours = int(DISABLE_AFTER / _HOUR)
        return f"every attempt for {hours} hours has failed; the last time: {outcome.reason}"
    return None


def parse_retry_after(value: str, *, now: float) -> float | None:
    """Parses either form of RFC 9110 § 10.2.3; returns seconds from `now` (unix), None if it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12]) if len(value) <= 12 else float("inf")
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:  # HTTP dates are GMT; "-0000" parses as naive
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _verdict(status: int) -> Verdict:
    # From Standard Webhooks, "Response status codes": only 2xx is success; a redirect is a failure.
    if 200 <= status <= 299:
        return Verdict.DELIVERED
    if status == 410:
        return Verdict.GONE
    return Verdict.THROTTLED if status in (429, 502, 504) else Verdict.FAILED


_HINTS = {
    401: "deliveries carry a signature and no credentials: let this path through",
    403: "a firewall or a login in front of it?",
    404: "does the path of the URL exist?",
    405: "the path must take POST",
    413: "a limit of your server or of a proxy before it is smaller than the body",
    415: "the body is application/json",
}


def _in_words(status: int) -> str:
    try:
        words = f"your server answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = f"your server answered {status}"
    hint = _HINTS.get(status, "")
    if 300 <= status <= 399:
        hint = "redirects are not followed: register the URL that it leads to"
    return f"{words} ({hint})" if hint else words
