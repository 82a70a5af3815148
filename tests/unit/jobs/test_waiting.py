"""How long to wait, and for what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunehook.errors import UpstreamBusy
from tunehook.jobs.unknown_outcome import EMPTY_SEARCHES, may_create_again, next_search
from tunehook.jobs.waiting import pause_for


def busy(message: str, code: str | None = None, retry_after: float | None = None) -> UpstreamBusy:
    return UpstreamBusy(message, upstream="openai", status=429, code=code, retry_after=retry_after)


@pytest.mark.parametrize(
    ("message", "code", "meant", "least"),
    [
        ("You exceeded your current quota, please check your plan", "insufficient_quota", "insufficient_quota", 600),
        ("You exceeded your current quota", None, "insufficient_quota", 600),
        ("This has been rate-limited. The maximum of 48 requests per day", None, "daily_rate_limit_exceeded", 3600),
        ("Limited.", "daily_rate_limit_exceeded", "daily_rate_limit_exceeded", 3600),
        ("the maximum number of concurrent fine-tuning jobs (3)", "concurrent_jobs_limit_exceeded", "no_slot", 60),
        ("You have 3 running jobs", None, "no_slot", 60),
        ("Slow down.", "slow_down", "slow_down", 30),
        ("Too many requests.", None, "rate_limit_exceeded", 30),
    ],
)
def test_a_429_is_told_by_its_code_and_words(message: str, code: str | None, meant: str, least: float) -> None:
    found, reason, pause = pause_for(busy(message, code))
    assert (found, reason, pause) == (meant, message, least)


def test_retry_after_is_kept_to_but_shortens_no_day() -> None:
    assert pause_for(busy("Slow down.", "slow_down", 70.0))[2] == 70.0
    assert pause_for(busy("Slow down.", "slow_down", 1.0))[2] == 10.0
    assert pause_for(busy("quota", retry_after=5.0))[2] == 600.0
    assert pause_for(busy("quota", retry_after=5000.0))[2] == 5000.0


@given(st.floats(0, 600))
def test_three_looks_fall_into_any_settle_time_and_the_decision_soon_after(settle: float) -> None:
    age, looks = 0.0, 0
    while True:
        pause = next_search(age, settle)
        assert pause > 0
        age += pause
        looks += 1
        if may_create_again(age, looks, settle):
            break
    assert looks >= EMPTY_SEARCHES
    assert age >= settle
    assert age <= settle + 60
    assert looks <= 20


def test_never_before_the_settle_time_nor_before_three_looks() -> None:
    assert not may_create_again(179.9, 10, 180)
    assert not may_create_again(1000, EMPTY_SEARCHES - 1, 180)
    assert may_create_again(180, EMPTY_SEARCHES, 180)
