"""How long to wait, and for what. Pure."""

from __future__ import annotations

from tunehook.errors import UpstreamBusy

#: A create of unknown outcome is believed not to have happened after the settle time and so many empty looks.
EMPTY_LOOKS = 3
#: So often a create of unknown outcome is made again, each time but the first after twice as long; then a person has
#: to see what kind of upstream this is: one that creates jobs and shows none would be paid for each.
MOST_REPEATS = 4
#: After a 429 no create follows sooner, whatever its Retry-After says; unless a slot was wanting, and one opens.
LATE_SECONDS = 10.0


def next_look(age: float, settle: float) -> float:
    """Seconds until the next look for a create that is `age` seconds old: 3, then doubling its age, the last
    one just after the settle time; so at least three fall into any settle time, and few into a long one."""
    pause = min(max(3.0, age), 60.0)
    remaining = settle + 0.5 - age
    return min(pause, remaining) if remaining > 0 else 1.0


def creates_again(age: float, looks: int, settle: float) -> bool:
    """Whether a create that was never found may be tried again: after the settle time and three empty looks."""
    return age >= settle and looks >= EMPTY_LOOKS


def settle_time(settle: float, repeats: int) -> float:
    """Seconds for which a create is looked for that has been repeated so often already."""
    return settle * 2.0 ** max(0, repeats - 1)


def pause_for(busy: UpstreamBusy) -> tuple[str, str, float]:
    """(code, reason, seconds) of a 429: what it is about is told by code and words.

    No slot: a job that ends wakes the next, a minute is for the case that somebody else's job ends. The daily
    limit: an hour, since nobody says when the day is over. No money: a person has to do something. Any other: ten
    seconds at least, since one that had created a job after all may show it some seconds later.
    """
    code, words = busy.code or "", busy.message.lower()
    if code == "insufficient_quota" or "quota" in words:
        return "insufficient_quota", busy.message, max(600.0, busy.retry_after or 0.0)
    if code == "daily_rate_limit_exceeded" or "per day" in words:
        return "daily_rate_limit_exceeded", busy.message, max(3600.0, busy.retry_after or 0.0)
    if "concurrent" in words or "running" in words or "slot" in words or "queued" in words:
        return "no_slot", busy.message, busy.retry_after or 60.0
    return code or "rate_limit_exceeded", busy.message, max(LATE_SECONDS, busy.retry_after or 30.0)
