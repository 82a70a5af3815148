"""The price of a job: the article's example, the upstream's rules, and a price file that is not to be trusted."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataset.lines import good, jsonl, report_of
from tunehook.dataset.estimate import (
    BadEpochs,
    Estimate,
    NotCounted,
    default_epochs,
    estimate,
    estimate_tokens,
    outlook,
)
from tunehook.dataset.prices import BadPriceFile, load_prices, usd_text
from tunehook.dataset.rules import rules_of

PRICES = load_prices()


def test_the_article() -> None:
    """100,000 tokens at 0.008 dollars per 1,000, three epochs: 2.40 dollars."""
    told = estimate_tokens(
        100,
        total=100_000,
        trained=100_000,
        over=0,
        model="gpt-3.5-turbo-0613",
        method="supervised",
        prices=PRICES,
        n_epochs=3,
    )
    assert told.cost_usd == Decimal("2.40")
    assert told.billed_tokens == 300_000
    assert told.price_date == "2023-08-22"
    assert told.warnings == ()


def of_file(n: int, **how: Any) -> Estimate:
    told: dict[str, Any] = {"model": "gpt-4.1-mini-2025-04-14", "method": "supervised", "prices": PRICES, **how}
    return estimate(report_of(jsonl(*map(good, range(n))), model=told["model"]), **told)


def test_a_file_is_billed_for_its_tokens_times_the_epochs() -> None:
    report = report_of(jsonl(*map(good, range(10))), model="gpt-4.1-mini")
    assert report.tokens
    told = of_file(10)
    assert (told.examples, told.epochs) == (10, 10)
    assert told.tokens == report.tokens.total
    assert told.billed_tokens == 10 * report.tokens.total
    assert told.cost_usd == (Decimal(5) * told.billed_tokens / 1_000_000).quantize(Decimal("0.0001"))
    assert of_file(10, n_epochs=4).billed_tokens == 4 * told.tokens
    assert json.loads(json.dumps(told.to_dict()))["cost_usd"] == float(told.cost_usd)


def test_what_is_cut_is_not_billed() -> None:
    long = {"messages": [*good(0)["messages"][:2], {"role": "assistant", "content": "bird " * 20_000}]}
    report = report_of(jsonl(*map(good, range(1, 20)), long), model="gpt-3.5-turbo")
    told = estimate(report, model="gpt-3.5-turbo", method="supervised", prices=PRICES, n_epochs=1)
    assert told.cut == 1
    assert told.cut_tokens > 3_000
    assert told.billed_tokens == told.tokens - told.cut_tokens


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [(1, 25), (4, 25), (5, 20), (10, 10), (33, 3), (34, 3), (8333, 3), (8334, 2), (12_500, 2), (12_501, 1), (10**6, 1)],
)
def test_epochs_as_the_upstream_chooses_them(examples: int, epochs: int) -> None:
    assert default_epochs(examples) == epochs


@pytest.mark.parametrize("n_epochs", [0, 51, True, 2.0, "3"])
def test_epochs_out_of_range(n_epochs: Any) -> None:
    with pytest.raises(BadEpochs, match="from 1 to 50"):
        of_file(10, n_epochs=n_epochs)


@pytest.mark.parametrize(
    ("model", "method", "amount"),
    [
        ("gpt-4.1-2025-04-14", "supervised", "25"),
        ("gpt-4.1-nano-2025-04-14", "dpo", "1.5"),
        ("ft:gpt-4o-mini-2024-07-18:acme::AbC:ckpt-step-9", "supervised", "3"),
        ("babbage-002", "supervised", "0.4"),
        ("gpt-4.10", "supervised", None),
        ("gpt-4.1-minni", "supervised", None),
        ("gpt-4.1-mini-tts", "supervised", None),
        ("gpt-4.1-mini-2025-04", "supervised", None),
        ("gpt-4.1-2025-04-14\n", "supervised", None),
        ("gpt-3.5-turbo-0125", "supervised", "8"),
        ("davinci-002", "dpo", None),
        ("o4-mini-2025-04-16", "supervised", None),
    ],
)
def test_the_row_that_fits_a_model(model: str, method: Any, amount: str | None) -> None:
    row = PRICES.find(model, method)
    assert (row and row.usd_per_million_tokens) == (Decimal(amount) if amount else None)


def test_what_has_no_price_says_so() -> None:
    unknown = of_file(10, model="llama-3")
    assert unknown.cost_usd is None
    assert "No price is known for supervised training of llama-3" in unknown.warnings[0]
    assert unknown.warnings[0].startswith("`llama-3` is not a model that we know.")
    near = of_file(10, model="gpt-4.1-minni")
    assert (near.cost_usd, near.usd_per_million_tokens) == (None, None)
    assert "`gpt-4.1-minni` is not a model that we know; did you mean gpt-4.1-mini?" in near.warnings[0]
    other = of_file(10, model="davinci-002", method="dpo")
    assert other.warnings[0].startswith("No price is known for dpo training of davinci-002")
    hourly = of_file(10, model="o4-mini", method="reinforcement")
    assert hourly.cost_usd is None
    assert hourly.usd_per_hour == 100
    assert "by the hour" in hourly.warnings[0]


def test_an_hour_costs_what_earlier_jobs_took(tmp_path: Path) -> None:
    row = {"model": "tiny", "kinds": ["trainer"], "usd_per_hour": 0.9, "as_of": "2026-11-26", "source": "our bill"}
    row |= {"methods": ["supervised", "reinforcement"]}
    (tmp_path / "prices.json").write_text(json.dumps({"prices": [row]}))
    asked: dict[str, Any] = {
        **{"total": 1000, "trained": 1000, "over": 0, "model": "tiny", "method": "supervised", "n_epochs": 3},
        "prices": load_prices(tmp_path / "prices.json"),
        "rules": rules_of("trainer"),
    }
    first = estimate_tokens(10, **asked)
    assert first.cost_usd is None
    assert first.warnings[0].startswith("No estimate yet: 0.9 USD an hour")
    then = estimate_tokens(10, **asked, seconds=2_000_000.0)  # 3,000 tokens: 6,000 s
    assert then.cost_usd == Decimal("1.5000")
    assert not any("No estimate yet" in line for line in then.warnings)
    written = estimate_tokens(10, **(asked | {"method": "reinforcement"}), seconds=2_000_000.0)
    assert written.cost_usd is None, "its tokens are written first, and were not measured"
    assert "how long it takes cannot be known" in written.warnings[0]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.001, "0.001"),
        (5.0, "5.00"),
        (Decimal("0.0272"), "0.0272"),
        (0.1, "0.10"),
        (1234.5, "1234.50"),
        (1e-7, "0.0000001"),
    ],
)
def test_amounts_in_words(amount: Decimal | float, text: str) -> None:
    assert usd_text(amount) == text


@pytest.mark.parametrize(
    ("today", "said"),
    [
        ("2026-10-15", None),
        ("2026-11-22", "shut down on 2027-01-14, in 53 days"),
        ("2027-01-15", "was shut down on 2027-01-14"),
    ],
)
def test_warns_of_a_model_near_its_end(today: str, said: str | None) -> None:
    warnings = outlook("gpt-4o", shutdown_date="2027-01-14", not_available=False, today=date.fromisoformat(today))
    assert [said in warning for warning in warnings if said] == ([True] if said else [])
    assert bool(warnings) == bool(said)


def test_warns_where_training_was_refused_and_lines_were_left_out() -> None:
    report = report_of(jsonl(*map(good, range(10))) + b"{\n", model="gpt-4o")
    told = estimate(report, model="gpt-4o", method="supervised", prices=PRICES)
    assert "1 example has errors" in told.warnings[0]
    assert "training_not_available" in outlook("gpt-4o", shutdown_date=None, not_available=True)[0]


def test_needs_a_report_with_tokens() -> None:
    with pytest.raises(NotCounted):
        estimate(report_of(jsonl(good(1))), model="gpt-4o", method="supervised", prices=PRICES)


def test_an_operators_own_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(
        '{"prices": [{"model": "gpt-4o", "usd_per_million_tokens": 0.1, "as_of": "2026-01-02", "source": "us"}]}'
    )
    told = of_file(10, model="gpt-4o-2024-08-06", prices=load_prices(path), n_epochs=50)
    assert told.cost_usd == (Decimal("0.1") * told.billed_tokens / 1_000_000).quantize(Decimal("0.0001"))
    assert (told.price_source, told.price_date) == ("us", "2026-01-02")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", '{"prices": ['),
        ('{"prices": [1]}', "row 1: must be an object"),
        ('{"prices": [{"model": "a", "as_of": "2026-01-01"}]}', "needs `usd_per_million_tokens`"),
        ('{"prices": [{"model": "a", "usd_per_hour": "x", "as_of": "2026-01-01"}]}', "must be a number"),
        ('{"prices": [{"model": "a", "usd_per_hour": -1, "as_of": "2026-01-01"}]}', "must be a number"),
        ('{"prices": [{"model": "a", "usd_per_hour": NaN, "as_of": "2026-01-01"}]}', "must be a number"),
        ('{"prices": [{"model": "a", "usd_per_hour": 1}]}', "YYYY-MM-DD"),
        (
            '{"prices": [{"model": "a", "usd_per_hour": 1, "methods": ["sft"], "as_of": "2026-01-01"}]}',
            "supervised, dpo",
        ),
    ],
)
def test_a_broken_price_file_is_explained(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(BadPriceFile) as caught:
        load_prices(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
