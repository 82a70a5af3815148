"""Estimates what a job will cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

from tunehook.dataset.findings import plural
from tunehook.dataset.prices import Method, Price, Prices
from tunehook.dataset.report import Report
from tunehook.dataset.rules import Rules

SOON_DAYS = 90
MAX_EPOCHS = 50


class NotCounted(ValueError):
    """The report has no token statistics: check the file with a model first."""


class BadEpochs(ValueError):
    """n_epochs is "auto" or a whole number from 1 to 50."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will cost, and how that is calculated.

    `tokens`: of all examples, uncut; `cut`: how many examples are over the model's limit; `cut_tokens`: what they lose.
    `billed_tokens`: (tokens - cut_tokens) × epochs. `cost_usd`: None where there is no price for a token, and
    then `warnings` says why."""

    model: str
    method: Method
    examples: int
    tokens: int
    cut: int
    cut_tokens: int
    epochs: int
    billed_tokens: int
    cost_usd: Decimal | None
    usd_per_million_tokens: Decimal | None
    usd_per_hour: Decimal | None
    price_source: str | None
    price_date: str | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON; amounts of money as numbers."""
        out = {k: float(v) if isinstance(v, Decimal) else v for k, v in asdict(self).items()}
        return out | {"warnings": list(self.warnings)}


def default_epochs(examples: int, rules: Rules | None = None) -> int:
    """Returns the epochs for "auto": 3; more for small files, up to 25; fewer for large ones.

    By OpenAI's cookbook; a job of 10 examples got 10 epochs from OpenAI, as here. `rules`: a kind's own number.
    """
    if rules is not None and isinstance(rules.auto_epochs, int):
        return rules.auto_epochs
    if examples * 3 < 100:
        return max(1, min(25, 100 // max(1, examples)))
    if examples * 3 > 25_000:
        return max(1, 25_000 // examples)
    return 3


def estimate(
    report: Report,
    *,
    model: str,
    method: Method,
    prices: Prices,
    n_epochs: int | Literal["auto"] = "auto",
    rules: Rules | None = None,
) -> Estimate:
    """Returns the cost of training `model` on the file of `report`. Raises NotCounted, BadEpochs."""
    if report.tokens is None:
        raise NotCounted(NotCounted.__doc__)
    return estimate_tokens(
        report.examples,
        total=report.tokens.total,
        trained=report.tokens.trained,
        over=report.tokens.over_limit,
        model=model,
        method=method,
        prices=prices,
        n_epochs=n_epochs,
        rules=rules,
        warnings=[*_left_out(report.with_errors), *by_rule(report.image_examples)],
    )


def estimate_tokens(
    examples: int,
    *,
    total: int,
    trained: int,
    over: int,
    model: str,
    method: Method,
    prices: Prices,
    n_epochs: int | Literal["auto"] = "auto",
    warnings: list[str] | None = None,
    rules: Rules | None = None,
    seconds: float | None = None,
) -> Estimate:
    """Returns the same from the numbers alone; `over`: how many examples are longer than the limit.

    `rules`: of the upstream's kind, whose prices count; None: of any. `seconds`: that a million tokens took in earlier
    jobs there, where training is paid by the hour; None: not known.
    """
    kind = rules.kind if rules else None
    if n_epochs != "auto" and (type(n_epochs) is not int or not 1 <= n_epochs <= MAX_EPOCHS):
        raise BadEpochs(f'n_epochs is {n_epochs!r}; use "auto" or a whole number from 1 to {MAX_EPOCHS}.')
    epochs = default_epochs(examples, rules) if n_epochs == "auto" else n_epochs
    billed = trained * epochs
    price = prices.find(model, method, kind)
    notes = list(warnings or ())
    cost = None
    if price is None:
        unknown = "" if prices.methods(model, kind) else f"{prices.unknown(model)} "
        notes.append(f"{unknown}No price is known for {method} training of {model}; add it to the price file.")
    elif price.usd_per_million_tokens is not None:
        cost = (price.usd_per_million_tokens * billed / 1_000_000).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    elif method == "reinforcement" or rules is None or not rules.measures:
        notes.append(f"Billed by the hour ({price.usd_per_hour} USD): how long it takes cannot be known before.")
    elif seconds is None:
        notes.append(f"No estimate yet: {price.usd_per_hour} USD an hour, and no job on this model has ended there.")
    else:
        cost = _by_the_hour(price, billed, seconds)
        notes.append(f"{price.usd_per_hour} USD an hour, for as long as earlier jobs on this model took there.")
    if rules is not None and not rules.as_openai:
        notes.append("Counted with OpenAI's vocabulary. The model has its own, so tokens and cost will differ.")
    if rules is not None and n_epochs == "auto" and not rules.knows_epochs:
        cost = None
        notes.append(f'How many epochs "auto" means at upstreams of kind {kind} is not known: give n_epochs.')
    return Estimate(
        model=model,
        method=method,
        examples=examples,
        tokens=total,
        cut=over,
        cut_tokens=total - trained,
        epochs=epochs,
        billed_tokens=billed,
        cost_usd=cost,
        usd_per_million_tokens=price.usd_per_million_tokens if price else None,
        usd_per_hour=price.usd_per_hour if price else None,
        price_source=price.source if price else None,
        price_date=price.as_of.isoformat() if price else None,
        warnings=tuple(notes),
    )


def _by_the_hour(price: Price, billed: int, seconds: float) -> Decimal:
    hours = Decimal(str(seconds)) * billed / 1_000_000 / 3600
    return ((price.usd_per_hour or Decimal(0)) * hours).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def outlook(model: str, *, shutdown_date: str | None, not_available: bool, today: date | None = None) -> list[str]:
    """Returns warnings against training this model at this upstream, whatever it costs.

    `shutdown_date`: of GET /v1/models, YYYY-MM-DD. `not_available`: the upstream has refused training before.
    """
    notes = []
    if not_available:
        notes.append("The upstream has refused this account training before (training_not_available).")
    if shutdown_date:
        end = date.fromisoformat(shutdown_date)
        days = (end - (today or date.today())).days  # noqa: DTZ011  # a calendar date without a time zone
        if days < 0:
            notes.append(f"{model} was shut down on {shutdown_date}.")
        elif days <= SOON_DAYS:
            notes.append(f"{model} and all models tuned from it shut down on {shutdown_date}, in {days} days.")
    return notes


def _left_out(bad: int) -> list[str]:
    have, were = ("has", "was") if bad == 1 else ("have", "were")
    return [f"{plural(bad, 'example')} {have} errors and {were} not counted."] * bool(bad)


def by_rule(images: int) -> list[str]:
    """Returns a warning about examples with images."""
    show = "shows" if images == 1 else "show"
    return [f"{plural(images, 'example')} {show} images, counted by rule and not by their size."] * bool(images)
