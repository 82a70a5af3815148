"""The schedule with time and chance handed in: nothing here sleeps."""

import random
from email.utils import formatdate
from itertools import pairwise

import pytest
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st

from tunehook.settings import Settings
from tunehook.webhooks.retry_policy import (
    DISABLE_AFTER,
    JITTER,
    MAX_ATTEMPTS,
    PAUSES,
    Fault,
    Outcome,
    Verdict,
    answered,
    disabled_because,
    failing_since,
    next_attempt,
    parse_retry_after,
    rest,
    unanswered,
)

NOW = 1_790_000_000.0
HOUR = 3600.0
FAILED = Outcome(Verdict.FAILED, "your server answered 500")


def attempts(outcome: Outcome, jitter: float) -> list[float]:
    """When a delivery is attempted that always ends in `outcome`, in seconds after the first time."""
    times = [0.0]
    while (again := next_attempt(len(times), outcome, now=times[-1], jitter=jitter)) is not None:
        times.append(again)
    return times


def test_ten_attempts_over_75_hours() -> None:
    times = attempts(FAILED, jitter=0.5)
    assert len(times) == MAX_ATTEMPTS == 10
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == pytest.approx([5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400])
    assert times[-1] / HOUR == pytest.approx(75.6, abs=0.1)


def test_deliveries_are_kept_for_longer_than_they_are_retried() -> None:
    """Jitter makes a pause 1.2 times as long, Retry-After twice that."""
    least = next(rule.ge for rule in Settings.model_fields["keep_deliveries_days"].metadata if isinstance(rule, Ge))
    assert 2 * (1 + JITTER) * sum(PAUSES) < float(str(least)) * 24 * HOUR


@pytest.mark.parametrize(("jitter", "hours"), [(0.0, 60.5), (1.0, 90.7)])
def test_jitter_shortens_or_stretches_by_a_fifth(jitter: float, hours: float) -> None:
    assert attempts(FAILED, jitter)[-1] / HOUR == pytest.approx(hours, abs=0.1)


def test_jitter_spreads_a_crowd() -> None:
    source = random.Random(6)  # noqa: S311 a seed, so that a failure can be seen again
    again = [next_attempt(3, FAILED, now=0.0, jitter=source.random()) or 0.0 for _ in range(1000)]
    assert min(again) < 1800 * 0.81
    assert max(again) > 1800 * 1.19
    assert sum(again) / 1000 == pytest.approx(1800, rel=0.02)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (204, Verdict.DELIVERED),
        (299, Verdict.DELIVERED),
        (199, Verdict.FAILED),
        (301, Verdict.FAILED),
        (304, Verdict.FAILED),
        (400, Verdict.FAILED),
        (404, Verdict.FAILED),
        (413, Verdict.FAILED),
        (500, Verdict.FAILED),
        (503, Verdict.FAILED),
        (999, Verdict.FAILED),
        (410, Verdict.GONE),
        (429, Verdict.THROTTLED),
        (502, Verdict.THROTTLED),
        (504, Verdict.THROTTLED),
    ],
)
def test_what_an_answer_means(status: int, verdict: Verdict) -> None:
    outcome = answered(status, now=NOW)
    assert outcome.verdict is verdict
    assert str(status) in outcome.reason
    over = verdict in (Verdict.DELIVERED, Verdict.GONE)
    assert (next_attempt(1, outcome, now=NOW, jitter=0.5) is None) is over


def test_reasons_help_whoever_runs_the_receiver() -> None:
    assert answered(413, now=NOW).reason.startswith("your server answered 413 ")
    assert "proxy" in answered(413, now=NOW).reason
    assert "redirects are not followed" in answered(308, now=NOW).reason
    assert answered(799, now=NOW).reason == "your server answered 799"


@pytest.mark.parametrize("fault", list(Fault))
def test_no_answer_is_a_failure_that_is_tried_again(fault: Fault) -> None:
    outcome = unanswered(fault, "errno 113")
    assert outcome.verdict is Verdict.FAILED
    assert "errno 113" in outcome.reason
    assert next_attempt(1, outcome, now=NOW, jitter=0.5) == NOW + 5
    assert rest(outcome) == 0


@pytest.mark.parametrize(
    ("asked", "pause"),
    [("0", 300), ("10", 300), ("400", 400), ("599", 599), ("86400", 600), ("9" * 400, 600), ("soon", 300)],
)
def test_retry_after_stretches_a_pause_to_its_double_and_never_shortens_it(asked: str, pause: float) -> None:
    outcome = answered(429, asked, now=NOW)
    assert next_attempt(2, outcome, now=NOW, jitter=0.5) == NOW + pause


def test_retry_after_as_a_date() -> None:
    outcome = answered(503, formatdate(NOW + 450, usegmt=True), now=NOW)
    assert next_attempt(2, outcome, now=NOW, jitter=0.5) == NOW + 450


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 60.0),
        ("Wed Oct 21 07:28:00 2015", 60.0),
        ("Wed, 21 Oct 2015 07:20:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        ("tomorrow", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_both_forms_of_retry_after_are_read(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, now=1445412420.0) == seconds


@pytest.mark.parametrize(("asked", "seconds"), [(None, 5), ("1", 5), ("60", 60), ("99999", 300)])
def test_an_endpoint_that_throttles_is_left_alone_for_a_while(asked: str | None, seconds: float) -> None:
    assert rest(answered(429, asked, now=NOW)) == seconds
    assert rest(answered(503, asked, now=NOW)) == 0
    assert rest(answered(200, asked, now=NOW)) == 0


def test_410_disables_at_once() -> None:
    reason = disabled_because(answered(410, now=NOW), None, now=NOW)
    assert reason is not None
    assert "410" in reason


def test_120_hours_of_nothing_but_failures_disable() -> None:
    since = failing_since(FAILED, None, now=NOW)
    assert since == NOW
    assert failing_since(FAILED, since, now=NOW + HOUR) == NOW
    assert disabled_because(FAILED, since, now=NOW + DISABLE_AFTER - 1) is None
    reason = disabled_because(FAILED, since, now=NOW + DISABLE_AFTER)
    assert reason is not None
    assert "120 hours" in reason
    assert FAILED.reason in reason


def test_one_success_starts_the_120_hours_anew() -> None:
    success = answered(200, now=NOW)
    assert failing_since(success, NOW - DISABLE_AFTER, now=NOW) is None
    assert disabled_because(success, NOW - DISABLE_AFTER, now=NOW) is None
    assert failing_since(FAILED, None, now=NOW + 60) == NOW + 60


outcomes = st.builds(
    Outcome,
    verdict=st.sampled_from(Verdict),
    reason=st.just(""),
    retry_after=st.none() | st.floats(min_value=0),
)


@given(made=st.integers(1, 30), outcome=outcomes, now=st.floats(0, 4e9), jitter=st.floats(0, 1))
def test_the_next_attempt_stays_within_its_bounds(made: int, outcome: Outcome, now: float, jitter: float) -> None:
    again = next_attempt(made, outcome, now=now, jitter=jitter)
    if made >= MAX_ATTEMPTS or outcome.verdict in (Verdict.DELIVERED, Verdict.GONE):
        assert again is None
        return
    assert again is not None
    pause = PAUSES[made - 1]
    assert 0.8 * pause - 1e-3 <= again - now <= 2 * 1.2 * pause + 1e-3
    if not outcome.retry_after:
        assert again - now <= 1.2 * pause + 1e-3


@given(st.text() | st.text("0123456789-+:, GMTWedOct", max_size=40), st.floats(0, 4e9))
def test_any_retry_after_is_read_or_ignored(header: str, now: float) -> None:
    seconds = parse_retry_after(header, now=now)
    assert seconds is None or seconds >= 0


@given(status=st.integers(-10, 10_000), header=st.none() | st.text())
def test_any_answer_has_an_outcome(status: int, header: str | None) -> None:
    outcome = answered(status, header, now=NOW)
    assert (outcome.verdict is Verdict.DELIVERED) == (200 <= status < 300)
