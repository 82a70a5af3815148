"""How reports, estimates and made datasets look outside: objects that are ours alone. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tunehook.dataset import Built, Estimate
from tunehook.wire import file_object

if TYPE_CHECKING:
    from tunehook.making import Made

#: Of what a dataset's source had that was not used, as many are named.
DROPPED_SHOWN = 100


def report_object(file_id: str, report: dict[str, Any]) -> dict[str, Any]:
    """`report`: Report.to_dict(), as `tunehook check --json` prints it."""
    return {"object": "file.report", "file_id": file_id, **report}


def dataset_object(made: Made, built: Built) -> dict[str, Any]:
    return {
        "object": "dataset",
        "training_file": file_object(made.training),
        "validation_file": file_object(made.validation) if made.validation else None,
        "training_examples": built.training_examples,
        "validation_examples": built.validation_examples,
        "dropped_count": len(built.dropped),
        "dropped": [{"at": dropped.at, "why": dropped.why} for dropped in built.dropped[:DROPPED_SHOWN]],
        "report": report_object(made.training.id, made.report),
    }


def estimate_object(estimate: Estimate) -> dict[str, Any]:
    names = ("usd_per_million_tokens", "usd_per_hour")
    amounts = {name: _number(getattr(estimate, name)) for name in names}
    published = {"source": estimate.price_source, "as_of": estimate.price_date}
    return {
        "object": "fine_tuning.job.estimate",
        "model": estimate.model,
        "method": estimate.method,
        "examples": estimate.examples,
        "tokens": estimate.tokens - estimate.cut_tokens,
        "cut_examples": estimate.cut,
        "cut_tokens": estimate.cut_tokens,
        "n_epochs": estimate.epochs,
        "billed_tokens": estimate.billed_tokens,
        "cost_usd": _number(estimate.cost_usd),
        "price": {**amounts, **published} if estimate.price_date else None,
        "warnings": list(estimate.warnings),
    }


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
