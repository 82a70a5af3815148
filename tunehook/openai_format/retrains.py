"""The body and the answers of `POST /v1/fine_tuning/jobs/{id}/retrain`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tunehook.dataset.estimate import Estimate
from tunehook.errors import RequestError
from tunehook.model.job import Job, LeftOut
from tunehook.openai_format.files import estimate_object
from tunehook.openai_format.job_request import Hyperparameters, Method, Name
from tunehook.openai_format.request_model import Strict


class RetrainRequest(Strict):
    """What differs from the source job. `hyperparameters`: in place of the source's of the same name.

    `n_epochs_if_auto`: in place of `auto`, or of no number.
    """

    nullable = frozenset({"hyperparameters", "method", "callback_url"})

    model: Name
    upstream: Name
    options: dict[str, Any] | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    n_epochs_if_auto: Annotated[int, Field(ge=1, le=50)] | None = None
    callback_url: Annotated[str, Field(max_length=2048)] | None = None
    max_cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    dry_run: bool = False
    again: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("give hyperparameters under 'method', or without it, not both")
        if self.n_epochs_if_auto is not None and self.method is not None:
            raise ValueError("give n_epochs under 'method', or n_epochs_if_auto without it, not both")
        return self


@dataclass(frozen=True)
class DryRun:
    """What a retrain would do. `error`: why it does not fit. `creates`: whether it would make a job."""

    source: Job
    existing: Job | None
    creates: bool
    left_out: list[LeftOut]
    estimate: Estimate | None
    error: RequestError | None


def dry_run_object(found: DryRun, asked: RetrainRequest, error: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the answer of a dry run. `error`: OpenAI's error object, of a retrain that does not fit."""
    return {
        "object": "fine_tuning.job.retrain",
        "retrained_from": found.source.id,
        "model": asked.model,
        "upstream": asked.upstream,
        "fits": error is None,
        "error": error,
        "creates": found.creates,
        "existing": {"id": found.existing.id, "status": found.existing.shown_status} if found.existing else None,
        "left_out": [one.model_dump() for one in found.left_out],
        "estimate": estimate_object(found.estimate) if found.estimate else None,
    }
