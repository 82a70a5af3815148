"""Which format is for which method and model, and by which format a file is judged that may be of two."""

from typing import Any

import pytest

from tests.unit.dataset.lines import GOOD, jsonl
from tunehook.dataset.checker import Checker
from tunehook.dataset.fit import check_fit, judged_as, method_of, misfit
from tunehook.dataset.formats import Judged
from tunehook.dataset.prices import Method
from tunehook.dataset.report import Report

FITTING: list[tuple[str, Method, str]] = [
    ("chat", "supervised", "gpt-4.1-mini-2025-04-14"),
    ("chat", "supervised", "ft:gpt-4o-2024-08-06:acme::x"),
    ("chat", "supervised", "llama-4"),
    ("completion", "supervised", "babbage-002"),
    ("completion", "supervised", "ft:davinci-002:acme::x"),
    ("completion", "supervised", "llama-4"),
    ("preference", "dpo", "gpt-4.1-mini-2025-04-14"),
    ("reinforcement", "reinforcement", "o4-mini-2025-04-16"),
]
MISFITS: list[tuple[str, Method, str]] = [
    ("chat", "dpo", "gpt-4o"),
    ("chat", "reinforcement", "o4-mini"),
    ("chat", "supervised", "babbage-002"),
    ("completion", "supervised", "gpt-4o"),
    ("completion", "supervised", "o4-mini"),
    ("completion", "dpo", "babbage-002"),
    ("preference", "supervised", "gpt-4o"),
    ("reinforcement", "supervised", "gpt-4o"),
    ("chat", "supervised", "o4-mini"),
    ("reinforcement", "reinforcement", "gpt-4.1-mini"),
    ("preference", "dpo", "babbage-002"),
]


@pytest.mark.parametrize(("form", "method", "model"), FITTING)
def test_what_fits(form: str, method: Method, model: str) -> None:
    assert misfit(form, model=model, method=method) is None


@pytest.mark.parametrize(("form", "method", "model"), MISFITS)
def test_what_does_not_fit_is_told_with_both(form: str, method: Method, model: str) -> None:
    told = misfit(form, model=model, method=method)
    assert told is not None
    assert f"it holds {form} examples" in told
    assert method in told


def test_a_file_that_fits_two_formats_is_taken_by_both_methods() -> None:
    assert misfit("chat", also=["reinforcement"], model="o4-mini", method="reinforcement") is None
    assert misfit("chat", also=["reinforcement"], model="gpt-4o", method="supervised") is None
    assert misfit("chat", also=["reinforcement"], model="gpt-4o", method="dpo") is not None


def test_the_method_is_as_the_format_says_unless_the_model_is_not_trained_so() -> None:
    assert method_of("preference", "gpt-4.1") == "dpo"
    assert method_of("reinforcement", "gpt-5") == "reinforcement"
    assert method_of("reinforcement", "gpt-4.1") == "supervised"
    assert method_of("chat", "o4-mini-2025-04-16") == "reinforcement"
    assert method_of("completion", "llama-4") == "supervised"


SYSTEM, USER, ANSWER = GOOD["messages"]
ASKED, THANKED = [SYSTEM, USER], [SYSTEM, USER, ANSWER, USER]


def checked(messages: list[Any], judged: Judged | None, **members: Any) -> Report:
    checker = Checker(judged=judged)
    checker.feed(jsonl(*({"messages": messages, **members} for _ in range(50))))
    return checker.finish()


@pytest.mark.parametrize(
    ("messages", "model", "method", "form"),
    [
        (ASKED, "gpt-4.1-mini", None, "chat"),
        (ASKED, None, "supervised", "chat"),
        (ASKED, "o4-mini-2025-04-16", None, "reinforcement"),
        (ASKED, "o4-mini-2025-04-16", "reinforcement", "reinforcement"),
        (ASKED, None, None, "chat"),
        (THANKED, None, "reinforcement", "reinforcement"),
        (THANKED, "gpt-4.1-mini", None, "chat"),
        ([SYSTEM, USER, ANSWER], None, "reinforcement", "chat"),
    ],
)
def test_what_is_told_decides_the_format(
    messages: list[Any], model: str | None, method: Method | None, form: str
) -> None:
    report = checked(messages, judged_as(model, method))
    assert report.format == form
    assert report.ok == (messages is not ASKED or form == "reinforcement")


def test_answers_before_an_open_end_are_judged_as_chat_where_the_model_trains_so() -> None:
    report = checked(THANKED, judged_as("gpt-4.1-mini", None), id=7)
    assert report.format == "chat"
    assert report.counts["example_unrecognized_key"] == 50
    kept = checked(ASKED, judged_as("gpt-4.1-mini", None), answer="Wren")
    assert (kept.format, kept.ok) == ("reinforcement", True)
    (found,) = check_fit(kept, model="gpt-4.1-mini", method="supervised")
    assert "it holds reinforcement examples, but supervised training" in found.message
    assert found.code == "format_misfit"


def test_without_a_model_a_file_that_may_be_either_is_judged_later() -> None:
    """As in the service, where the method is told by a job and not by the upload."""
    asked, thanked = checked(ASKED, "later"), checked(THANKED, "later")
    assert (asked.format, asked.ok, asked.also) == ("reinforcement", True, [])
    assert (thanked.format, thanked.ok, thanked.also) == ("chat", True, ["reinforcement"])
    assert checked([SYSTEM, USER, ANSWER], "later").also == []
    assert not check_fit(thanked, model="o4-mini", method="reinforcement")
    assert not check_fit(thanked, model="gpt-4.1-mini", method="supervised")
