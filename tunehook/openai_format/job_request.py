"""Checks the body of `POST /v1/fine_tuning/jobs`: every parameter of the SDK, before anything is stored. Pure.

Limits are OpenAI's own (its description of the API); an upstream may be stricter, and says so itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tunehook.dataset.findings import shown
from tunehook.model.job import TAG
from tunehook.openai_format.request_model import Strict

MAX_SEED = 2**31 - 1
#: A job's record is kept in Redis: the only member that may be large is a grader's source, which OpenAI limits to this.
GRADER_BYTES = 256 * 1024
Name = Annotated[str, Field(min_length=1, max_length=256)]


def _auto_or(check: Callable[[Any], bool], words: str) -> BeforeValidator:
    def _validate(value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None or value == "auto" or (number and check(value)):
            return value
        raise ValueError(f'must be "auto" or {words}, not {shown(value)}')

    return BeforeValidator(_validate)


def _whole(low: int, high: int) -> BeforeValidator:
    return _auto_or(lambda n: isinstance(n, int) and low <= n <= high, f"a whole number from {low} to {high}")


BatchSize = Annotated[Any, _whole(1, 256)]
Epochs = Annotated[Any, _whole(1, 50)]
Multiplier = Annotated[Any, _auto_or(lambda n: n > 0, "a number above 0")]
Count = Annotated[Any, _auto_or(lambda n: isinstance(n, int) and n >= 1, "a whole number from 1")]


class Hyperparameters(Strict):
    batch_size: BatchSize = None
    learning_rate_multiplier: Multiplier = None
    n_epochs: Epochs = None


class DpoHyperparameters(Hyperparameters):
    beta: Annotated[Any, _auto_or(lambda n: 0 < n <= 2, "a number above 0, at most 2")] = None


class ReinforcementHyperparameters(Hyperparameters):
    compute_multiplier: Annotated[Any, _auto_or(lambda n: 1e-5 < n <= 10, "a number above 0.00001, at most 10")] = None
    eval_interval: Count = None
    eval_samples: Count = None
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None


class Supervised(Strict):
    hyperparameters: Hyperparameters | None = None


class Dpo(Strict):
    hyperparameters: DpoHyperparameters | None = None


#: What a grader of each type cannot do without (OpenAI's description of the API).
_GRADER_NEEDS = {
    "string_check": ("input", "operation", "reference"),
    "text_similarity": ("input", "reference", "evaluation_metric"),
    "python": ("source",),
    "score_model": ("input", "model"),
    "label_model": ("input", "model", "labels", "passing_labels"),
    "multi": ("graders", "calculate_output"),
}


class AnyGrader(BaseModel):
    """Its type, its name, and that nothing is missing; the upstream judges the rest."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str
    name: Annotated[str, Field(max_length=256)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = self.model_dump(exclude_none=True)
        missing = [f"'{name}'" for name in _GRADER_NEEDS[self.type] if name not in given]
        if missing:
            raise ValueError(f"of type {self.type!r} needs {' and '.join(missing)}")
        return self


class PartGrader(AnyGrader):
    """One of a `multi`."""

    type: Literal["string_check", "text_similarity", "python", "score_model", "label_model"]


class Grader(AnyGrader):
    type: Literal["string_check", "text_similarity", "python", "score_model", "multi"]
    graders: dict[str, PartGrader] | None = None

    @field_validator("graders", mode="before")
    @classmethod
    def _are_named(cls, value: Any) -> Any:
        if value is not None and not (isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())):
            raise ValueError('must be an object of graders by name, such as {"right": {"type": "string_check", …}}')
        return value or None  # an empty one is none

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if len(self.model_dump_json()) > GRADER_BYTES:
            raise ValueError(f"is larger than {GRADER_BYTES} bytes")
        return self


class Reinforcement(Strict):
    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None


class Method(Strict):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Method:
        for kind in ("supervised", "dpo", "reinforcement"):
            if kind != self.type and getattr(self, kind) is not None:
                raise ValueError(f"has the type {self.type!r} and must not have the member {kind!r}")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("of type 'reinforcement' needs the member 'reinforcement' with a grader")
        return self


class Wandb(Strict):
    nullable = frozenset({"name", "entity"})

    project: Name
    name: Name | None = None
    entity: Name | None = None
    tags: Annotated[list[Name], Field(max_length=64)] | None = None


class Integration(Strict):
    type: Literal["wandb"]
    wandb: Wandb


#: All options together, as JSON.
OPTIONS_BYTES = 4096


class Ours(Strict):
    """`options`: the upstream's own members; upstreams/options.py checks them once the upstream is known."""

    upstream: Name | None = None
    options: dict[str, Any] | None = None
    priority: Literal["low", "normal"] | None = None
    deploy: bool | None = None  #: None: as the kind of upstream does
    max_cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @field_validator("options")
    @classmethod
    def _small(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and len(json.dumps(value)) > OPTIONS_BYTES:
            raise ValueError(f"are larger than {OPTIONS_BYTES} bytes")
        return value


class JobRequest(Strict):
    nullable = frozenset(
        ("validation_file", "hyperparameters", "method", "suffix", "seed", "integrations", "metadata", "callback_url")
    ) | {"tunehook"}

    model: Name
    training_file: Name
    validation_file: Name | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    metadata: dict[str, str] | None = None
    callback_url: Annotated[str, Field(max_length=2048)] | None = None
    tunehook: Ours | None = None

    @field_validator("metadata")
    @classmethod
    def _within_limits(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return None
        if TAG in value:
            raise ValueError(f"the key {TAG!r} is reserved for this service")
        if len(value) > 15:
            raise ValueError(f"has {len(value)} pairs; 15 are the most (the upstream's 16th is this service's mark)")
        for name, text in value.items():
            if not name or len(name) > 64 or len(text) > 512:
                raise ValueError(f"the pair {name[:64]!r}: keys have 1 to 64 characters and values at most 512")
        return value

    @model_validator(mode="after")
    def _one_place(self) -> JobRequest:
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError(
                "give hyperparameters under 'method' only; the top-level member is for requests without 'method'"
            )
        return self

    @property
    def kind(self) -> Literal["supervised", "dpo", "reinforcement"]:
        return self.method.type if self.method else "supervised"

    @property
    def ours(self) -> Ours:
        return self.tunehook or Ours()

    @property
    def grader(self) -> dict[str, Any] | None:
        """The grader of a job with the method reinforcement."""
        reinforcement = self.method.reinforcement if self.method else None
        return reinforcement.grader.model_dump() if reinforcement else None

    @property
    def asked(self) -> Hyperparameters | None:
        """The hyperparameters, wherever they stand."""
        chosen = getattr(self.method, self.kind) if self.method else self
        asked: Hyperparameters | None = chosen.hyperparameters if chosen else None
        return asked

    @property
    def n_epochs(self) -> int | Literal["auto"]:
        return (self.asked.n_epochs if self.asked else None) or "auto"
