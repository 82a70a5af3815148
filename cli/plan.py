"""The jobs that `tunehook submit` and `estimate` are asked for: one, or one for each combination of a sweep."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cli.failures import AskedWrongly
from cli.options import given, pairs

#: Members of the metadata of a sweep's jobs: its name, and the values of this one.
SWEEP, RUN = "sweep", "sweep_run"
_SEVERAL = "; several, with commas between, make a sweep"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, where and how."""

    model: Annotated[str, Parameter(help=f"the base model{_SEVERAL}")]
    validation: Annotated[str | None, Parameter(help="a validation file, or the id of one")] = None
    method: Annotated[
        Literal["supervised", "dpo", "reinforcement"] | None,
        Parameter(help="the way of training (default: supervised)"),
    ] = None
    grader: Annotated[Path | None, Parameter(help="a reinforcement grader, JSON")] = None
    epochs: Annotated[str | None, Parameter(name=("--epochs", "--n-epochs"), help=f"1 to 50, or auto{_SEVERAL}")] = None
    learning_rate_multiplier: Annotated[str | None, Parameter(help=f"a number above 0, or auto{_SEVERAL}")] = None
    batch_size: Annotated[str | None, Parameter(help=f"1 to 256, or auto{_SEVERAL}")] = None
    beta: Annotated[str | None, Parameter(help=f"of dpo: a number up to 2, or auto{_SEVERAL}")] = None
    seed: Annotated[int | None, Parameter(help="the same seed trains the same way, as far as the upstream can")] = None
    name: Annotated[str | None, Parameter(help="part of the tuned model's name")] = None
    meta: Annotated[list[str] | None, Parameter(help="KEY=VALUE for the metadata; may be repeated")] = None
    callback: Annotated[str | None, Parameter(help="a URL that gets the webhook of the end")] = None
    max_cost: Annotated[float | None, Parameter(help="in USD, of each job: one that may cost more is refused")] = None
    upstream: Annotated[str | None, Parameter(help="where it is trained, such as openai")] = None
    sweep: Annotated[str | None, Parameter(help="the sweep's name; run again with it, no job is made twice")] = None

    def combinations(self) -> list[Combination]:
        """Returns one for each combination of the values. Raises AskedWrongly."""
        options = {
            "n_epochs": _values("--epochs", self.epochs),
            "learning_rate_multiplier": _values("--learning-rate-multiplier", self.learning_rate_multiplier),
            "batch_size": _values("--batch-size", self.batch_size),
            "beta": _values("--beta", self.beta),
        }
        swept = {name: values for name, values in options.items() if values}
        models = [name for part in self.model.split(",") if (name := part.strip())]
        if not models:
            raise AskedWrongly(why="--model is empty. Name a base model, such as gpt-4.1-mini-2025-04-14.")
        return [
            Combination(model, dict(zip(swept, values, strict=True)))
            for model in dict.fromkeys(models)
            for values in product(*swept.values())
        ]

    def body(self, one: Combination, training: str, validation: str | None, sweep: str | None) -> dict[str, Any]:
        """Returns the request that makes this job."""
        ours = {"upstream": self.upstream, "max_cost_usd": self.max_cost}
        labels = {SWEEP: sweep, RUN: one.label} if sweep else {}
        whole: dict[str, Any] = {
            "model": one.model,
            "training_file": training,
            "validation_file": validation,
            "method": self._method(one),
            "suffix": self.name,
            "seed": self.seed,
            "metadata": (pairs(self.meta or []) | labels) or None,
            "callback_url": self.callback,
            "tunehook": given(ours) or None,
        }
        return given(whole)

    def _method(self, one: Combination) -> dict[str, Any] | None:
        if self.method is None and not one.hyperparameters:
            return None
        kind = self.method or "supervised"
        inner: dict[str, Any] = {"hyperparameters": one.hyperparameters} if one.hyperparameters else {}
        return {"type": kind, kind: inner | self._grader()}

    def _grader(self) -> dict[str, Any]:
        if self.grader is None:
            return {}
        try:
            return {"grader": json.loads(self.grader.read_bytes())}
        except (OSError, ValueError) as error:
            raise AskedWrongly(why=f"--grader {self.grader}: {error}") from error


@dataclass(frozen=True)
class Combination:
    """A model and hyperparameters of one job."""

    model: str
    hyperparameters: dict[str, Any]

    @property
    def label(self) -> str:
        """The values in words, alike in each run of the command."""
        return " ".join(f"{name}={value}" for name, value in self.hyperparameters.items()) or "defaults"

    def key(self, sweep: str) -> str:
        """Returns the Idempotency-Key of this job of a sweep."""
        return hashlib.sha256("\n".join((sweep, self.model, self.label)).encode()).hexdigest()


def _values(option: str, text: str | None) -> Sequence[int | float | str]:
    return list(dict.fromkeys(_numbers(option, text))) if text is not None else []


def _numbers(option: str, text: str) -> Iterator[int | float | str]:
    for part in map(str.strip, text.split(",")):
        if part == "auto":
            yield part
        elif re.fullmatch(r"\d{1,9}", part, re.ASCII):
            yield int(part)
        elif re.fullmatch(r"\d{0,9}\.\d{1,9}|\d{1,9}(\.\d{1,9})?[eE]-?\d{1,2}", part, re.ASCII):
            yield float(part)
        else:
            raise AskedWrongly(why=f"{option} {text}: {part!r} is neither auto nor a number. Write {option} 1,2,3.")
