"""Job, event and checkpoint as OpenAI's objects, with one member of ours, `tunehook`. Pure.

Every id in an OpenAI member is ours; the upstream's own ids stand in `tunehook` alone.
"""

from __future__ import annotations

import re
from typing import Any

from tunehook.model.file import Copy
from tunehook.model.job import AT_UPSTREAM, AWAITING, Cost, Job, Message, UpstreamJob

EVENT_ID = "ftevent-"


def job_object(
    job: Job, *, revision: int, cancel_requested_at: int | None = None, copy: Copy | None = None
) -> dict[str, Any]:
    """OpenAI's `fine_tuning.job`. `copy`: the upload that the job waits for, if it does."""
    seen = job.seen
    error = job.error
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "finished_at": job.settled_at and ((seen and seen.finished_at) or job.settled_at),
        "model": job.spec.model,
        "fine_tuned_model": seen.fine_tuned_model if seen else None,
        "organization_id": job.project,
        "status": job.shown_status,
        "training_file": job.training.id,
        "validation_file": job.validation.id if job.validation else None,
        "result_files": list(job.result_files.values()),
        "hyperparameters": hyperparameters(job),
        "method": method(job),
        "seed": seen.seed if seen and seen.seed is not None else job.spec.seed,
        "trained_tokens": seen.trained_tokens if seen else None,
        "estimated_finish": seen.estimated_finish if seen else None,
        "integrations": job.spec.integrations,
        "metadata": job.spec.metadata,
        "error": {"code": error.code, "message": own_ids(error.message, job), "param": error.param} if error else None,
        "tunehook": tunehook_member(job, revision=revision, cancel_requested_at=cancel_requested_at, copy=copy),
    }


def tunehook_member(
    job: Job, *, revision: int, cancel_requested_at: int | None = None, copy: Copy | None = None
) -> dict[str, Any]:
    """Returns the state of the job here and at its upstream."""
    waiting = job.waiting and job.waiting.model_copy(update={"reason": own_ids(job.waiting.reason, job)})
    if waiting and waiting.code == AWAITING:
        waiting = waiting.model_copy(update={"retry_at": None})
    return {
        "stage": job.stage.value,
        "upstream": job.upstream,
        "upstream_job_id": job.upstream_job_id,
        "upstream_status": job.seen.status if job.seen else None,
        "options": job.spec.options,
        "dataset": _dataset(job),
        "model": _model(job),
        "callback_url": job.callback_url,
        "waiting": waiting.model_dump(include={"reason", "code", "retry_at", "since"}) if waiting else None,
        "upload": {"bytes_sent": copy.bytes_sent, "bytes_total": copy.bytes} if copy else None,
        "cancel_requested_at": cancel_requested_at,
        "retrained_from": job.retrained_from,
        "left_out": [one.model_dump(include={"member", "why"}) for one in job.left_out],
        "estimate": _cost(job, job.estimate),
        "cost": _cost(job, job.cost),
        "revision": revision,
        **({"trace_id": job.trace_id} if job.trace_id else {}),
    }


def importable_object(upstream: str, seen: UpstreamJob, job: Job | None, why_not: str | None) -> dict[str, Any]:
    """Returns a job at an upstream; with the upstream's ids. `job`: as this project has it already."""
    members = ("id", "created_at", "status", "model", "fine_tuned_model", "training_file", "validation_file")
    return {
        "object": "fine_tuning.importable_job",
        "upstream": upstream,
        **seen.model_dump(include=set(members)),
        "job_id": job.id if job else None,
        "dataset": _dataset(job) if job else None,
        "importable": why_not is None and job is None,
        "reason": why_not,
    }


def _dataset(job: Job) -> dict[str, Any] | None:
    return job.dataset.model_dump(include={"state", "reason"}) if job.dataset else None


def _model(job: Job) -> dict[str, Any] | None:
    """Returns what a finished model needs before it answers; None for nothing, and before there is one."""
    if job.deployment is None:
        return None
    if job.status != "succeeded":
        return {"state": "deploying"} if job.deployed and job.seen and job.seen.unnamed else None
    if job.deployed is not None:
        return {"state": job.deployed}
    return {"state": "needs_deployment", "what_to_do": job.deployment}


def _cost(job: Job, cost: Cost | None) -> dict[str, Any] | None:
    if cost is None:
        return None
    names = ("usd_per_million_tokens", "usd_per_hour", "source", "as_of")
    price = {name: getattr(job.price, name) for name in names} if job.price else None
    return {"billed_tokens": cost.billed_tokens, "usd": cost.usd, "price": price}


def hyperparameters(job: Job) -> dict[str, Any]:
    """Returns those of a supervised job, as the upstream chose or as requested. Never null, as in the SDK's type."""
    kind = method(job)["type"]
    if kind != "supervised":
        return {}
    chosen = job.seen.hyperparameters if job.seen else None
    asked = job.spec.hyperparameters or ((job.spec.method or {}).get("supervised") or {}).get("hyperparameters")
    automatic = {"batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": "auto"}
    return automatic | (asked or {}) | {name: value for name, value in (chosen or {}).items() if value is not None}


def method(job: Job) -> dict[str, Any]:
    if job.seen and job.seen.method:
        return job.seen.method
    if job.spec.method:
        return job.spec.method
    return {"type": "supervised", "supervised": {"hyperparameters": dict(job.spec.hyperparameters or {})}}


def own_ids(text: str, job: Job, files: tuple[str, str | None] | None = None) -> str:
    """Replaces the upstream's ids of job and files in `text` by ours.

    `files`: its ids of training and validation file, where it has no job yet that would tell them.
    """
    seen, theirs = job.seen, dict(job.result_files)
    training, validation = files or (seen.training_file if seen else None, seen.validation_file if seen else None)
    theirs[job.upstream_job_id or ""] = job.id
    theirs[training or ""] = job.training.id
    theirs[validation or ""] = job.validation.id if job.validation else f"{AT_UPSTREAM}{validation}"
    names = sorted((re.escape(name) for name in theirs if name), key=len, reverse=True)
    if not names:
        return text
    # One that is ours (`upstream:file-…`) already stays, and so does a longer id that begins like one of these.
    return re.sub(rf"(?<![\w-])(?<!{AT_UPSTREAM})({'|'.join(names)})(?![\w-])", lambda found: theirs[found[1]], text)


def event_object(job: Job, position: str, message: Message) -> dict[str, Any]:
    """OpenAI's `fine_tuning.job.event`. Its id has the position in the log, so that it is found without an index."""
    return {
        "id": EVENT_ID + position,
        "object": "fine_tuning.job.event",
        "created_at": message.created_at,
        "level": message.level if message.level in ("info", "warn", "error") else "info",
        "message": own_ids(message.message, job),
        "type": message.type,
        "data": message.data or {},  # OpenAI describes an object, and sends null too
    }


def checkpoint_object(job: Job, raw: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's `fine_tuning.job.checkpoint`, of our job."""
    members = ("id", "created_at", "fine_tuned_model_checkpoint", "metrics", "step_number")
    return {
        "object": "fine_tuning.job.checkpoint",
        "fine_tuning_job_id": job.id,
        **{name: raw.get(name) for name in members},
    }


def job_event_data(job: Job, *, revision: int) -> dict[str, Any]:
    """Returns the data of a webhook event about a job: all that its subscriber needs next.

    https://platform.openai.com/docs/api-reference/webhook-events: theirs has only `data.id`. `sequence` orders
    a job's events where deliveries could not: no two happen in one change of it.
    """
    whole = job_object(job, revision=revision)
    names = ("id", "status", "fine_tuned_model", "model", "trained_tokens", "error", "metadata", "tunehook")
    data = {name: whole[name] for name in names}
    data["tunehook"]["sequence"] = revision
    return data
