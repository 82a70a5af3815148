"""Carrying over: builds the request of a retrain from its source job, without what the new upstream lacks. Pure.

What is left out is named. A method is never left out: without it the job would be another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunehook.errors import InvalidParameter, RequestError
from tunehook.model.job import Job, LeftOut
from tunehook.openai_format.job_request import (
    DpoHyperparameters,
    Hyperparameters,
    ReinforcementHyperparameters,
)
from tunehook.openai_format.request_model import parse_as
from tunehook.openai_format.retrains import RetrainRequest
from tunehook.upstreams.options import check_hyperparameters, check_member, check_options

Members = dict[str, Any]
_TYPES: dict[str, type[Hyperparameters]] = {
    "supervised": Hyperparameters,
    "dpo": DpoHyperparameters,
    "reinforcement": ReinforcementHyperparameters,
}
#: OpenAI takes 16 pairs of metadata; one is the mark of this service.
METADATA_PAIRS = 15
AUTO = "auto"


def request_of(
    source: Job, asked: RetrainRequest, *, kind: str, source_kind: str, lost_validation: str | None
) -> tuple[Members, list[LeftOut]]:
    """Returns the body of the create, and what it leaves out of the source job.

    `kind`, `source_kind`: of the new upstream and of the source's. `lost_validation`: why the validation file cannot
    be used. The seed is drawn anew: it repeats nothing at another trainer, and identifies a job at some upstreams.
    """
    left: list[LeftOut] = []
    body: Members = {"model": asked.model, "training_file": source.training.id, "suffix": _suffix(source)}
    if lost_validation is not None:
        left.append(LeftOut(member="validation_file", why=lost_validation))
    elif source.validation is not None:
        body["validation_file"] = source.validation.id
    if asked.method is not None:
        body["method"] = asked.method.model_dump(exclude_none=True)
    else:
        body["method"] = _method(source, asked, kind, left)
    body["integrations"] = _integrations(source, kind, left)
    body["metadata"] = _metadata(source, left)
    options = {**_options(source, asked, kind, source_kind, left), **(asked.options or {})}
    body["tunehook"] = {"upstream": asked.upstream, "options": options or None, "max_cost_usd": asked.max_cost_usd}
    # An imported job says no by itself, where it had ended; it has no digest of a request.
    body["tunehook"]["deploy"] = False if not source.deploy and source.request_sha256 else None
    body["tunehook"] = _given(body["tunehook"])
    return _given(body | {"callback_url": asked.callback_url}), left


def _given(members: Members) -> Members:
    return {name: value for name, value in members.items() if value is not None}


def _suffix(source: Job) -> str | None:
    """Returns the suffix; of an imported job, from its model's name: `ft:<base>:<organization>:<suffix>:<id>`."""
    if source.spec.suffix:
        return source.spec.suffix
    parts = (source.seen.fine_tuned_model or "").split(":") if source.seen else []
    return parts[3][:64] or None if len(parts) == 5 and parts[0] == "ft" else None


def _method(source: Job, asked: RetrainRequest, kind: str, left: list[LeftOut]) -> Members:
    """Returns the source's method with those hyperparameters that the new upstream has, and with those asked for."""
    name, had = source.spec.kind, source.spec.asked
    inner: Members = dict((source.spec.method or {}).get(name) or {})
    inner.pop("hyperparameters", None)
    given = asked.hyperparameters.model_dump(exclude_none=True) if asked.hyperparameters else {}
    kept = dict(_kept(name, {key: value for key, value in had.items() if key not in given}, kind, left)) | given
    if asked.n_epochs_if_auto is not None and kept.get("n_epochs", AUTO) == AUTO:
        kept["n_epochs"] = asked.n_epochs_if_auto
    if kept:
        inner["hyperparameters"] = kept
    return {"type": name, **({name: inner} if inner else {})}


def _kept(method: str, had: Members, kind: str, left: list[LeftOut]) -> Iterator[tuple[str, Any]]:
    where = f"method.{method}.hyperparameters"
    for name, value in had.items():
        try:
            parse_as(_TYPES.get(method, Hyperparameters), {name: value})
            check_hyperparameters(kind, {name: value}, where)
        except RequestError as error:
            left.append(LeftOut(member=f"{where}.{name}", why=error.message))
        else:
            yield name, value


def _integrations(source: Job, kind: str, left: list[LeftOut]) -> list[Members] | None:
    if not source.spec.integrations:
        return None
    try:
        check_member(kind, "integrations")
    except InvalidParameter as error:
        left.append(LeftOut(member="integrations", why=error.message))
        return None
    return source.spec.integrations


def _metadata(source: Job, left: list[LeftOut]) -> dict[str, str] | None:
    pairs = list((source.spec.metadata or {}).items())
    why = f"{METADATA_PAIRS} pairs are the most: one more is the mark of this service"
    left.extend(LeftOut(member=f"metadata.{name}", why=why) for name, _ in pairs[METADATA_PAIRS:])
    return dict(pairs[:METADATA_PAIRS]) or None


def _options(source: Job, asked: RetrainRequest, kind: str, source_kind: str, left: list[LeftOut]) -> Members:
    """Returns the source's options if the new upstream is of the same kind. Defaults are not named: none asked them."""
    had = dict(source.spec.options or {})
    if kind == source_kind:
        return had
    defaults = check_options(source_kind, source.spec.model, {}) or {}
    for name, value in had.items():
        if name not in (asked.options or {}) and defaults.get(name) != value:
            why = f"an option of upstreams of kind {source_kind}, not of kind {kind}"
            left.append(LeftOut(member=f"tunehook.options.{name}", why=why))
    return {}
