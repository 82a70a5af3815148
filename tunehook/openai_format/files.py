"""File and upload as OpenAI's objects; report, dataset and estimate, which are ours alone. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tunehook.dataset.build import Built
from tunehook.dataset.estimate import Estimate
from tunehook.model.file import BuiltFiles, File, Upload

#: So many dropped items of a dataset's source are listed.
DROPPED_SHOWN = 100


def report_object(file_id: str, report: dict[str, Any]) -> dict[str, Any]:
    """`report`: Report.to_dict(), as `tunehook check --json` prints it."""
    return {"object": "file.report", "file_id": file_id, **report}


def dataset_object(made: BuiltFiles, built: Built) -> dict[str, Any]:
    return {
        "object": "dataset",
        "training_file": file_object(made.training),
        "validation_file": file_object(made.validation) if made.validation else None,
        "training_examples": built.training_examples,
        "validation_examples": built.validation_examples,
        "dropped_count": len(built.dropped),
        "unused_columns": list(built.unused),
        "notes": list(built.notes),
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


def file_object(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": file.status_details,
    }


def upload_object(upload: Upload, file: File | None, *, now: float) -> dict[str, Any]:
    """OpenAI's `upload`. `file`: what it became, once completed."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.shown_status(now),
        "file": file_object(file) if file else None,
    }
