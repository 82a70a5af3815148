"""Together's dialect: its requests, statuses, events and errors, to and from our model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnknown,
)
from tunehook.model.job import ENDS, TAG, JobError, JobSpec, UpstreamJob
from tunehook.upstreams.members import (
    Raw,
    is_id,
    marked_suffix,
    name_in,
    readable,
    retry_after,
    rows,
    suffix_mark,
    table,
    text,
    unix,
    whole,
)
from tunehook.upstreams.options import asked_of
from tunehook.upstreams.together_log import RESULTS, error_in, messages

LONGEST_SUFFIX = 40
#: 409 is not among them: on an upload the file exists, on a create the outcome is unknown.
_REFUSES = frozenset({400, 403, 404, 405, 412, 413, 415, 422})

STATUSES = {
    "pending": "queued",
    "queued": "queued",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "running",
    "completed": "succeeded",
    "cancelled": "cancelled",
    "error": "failed",
    "user_error": "failed",
}


# ---- requests


def training(upstream: str, spec: JobSpec, *, training_file: str, validation_file: str | None) -> dict[str, Any]:
    """Returns the members of a create but seed and suffix. The spec's options are Together's own members."""
    asked = asked_of("together", upstream, spec)
    method: dict[str, Any] = {"method": "sft", "train_on_inputs": "auto"}
    if spec.kind == "dpo":
        method = {"method": "dpo"} | ({"dpo_beta": asked["beta"]} if "beta" in asked else {})
    body: dict[str, Any] = {"model": spec.model, "training_file": training_file, "training_method": method}
    body["n_epochs"] = asked.get("n_epochs", 1)
    if "batch_size" in asked:
        body["batch_size"] = asked["batch_size"]
    if validation_file:  # without evaluations the file is not used
        body |= {"validation_file": validation_file, "n_evals": max(1, int(body["n_epochs"]))}
    options = dict(spec.options or {})
    kind_of_training = _training_type(table(options.pop("training_type", None)))
    return body | options | ({"training_type": kind_of_training} if kind_of_training else {})


def _training_type(asked: Raw) -> dict[str, Any]:
    """Returns the training type with what Together demands beside a rank; an empty one for its default, LoRA.

    An absent alpha is twice the rank, as in Together's own client.
    """
    if dict(asked) == {"type": "Lora"}:
        return {}
    return ({"lora_alpha": 2 * asked["lora_r"]} if "lora_r" in asked else {}) | dict(asked)


def create_body(
    upstream: str, spec: JobSpec, tag: str, *, training_file: str, validation_file: str | None
) -> dict[str, Any]:
    """Returns the body of a create. Without a seed, each job there has 42."""
    body = training(upstream, spec, training_file=training_file, validation_file=validation_file)
    return body | {"random_seed": spec.seed, "suffix": marked_suffix(spec.suffix, tag, LONGEST_SUFFIX)}


# ---- answers


def refusal(name: str, status: int, value: object, headers: Mapping[str, str]) -> UpstreamError:
    """Returns the error for an HTTP error answer: `{"error": {"message", "type", "param", "code"}}`."""
    body = table(table(value).get("error"))
    message = text(body.get("message")) or text(table(value).get("message")) or f"HTTP {status}"
    code = name_in(body.get("code"))
    fields: dict[str, Any] = {"upstream": name, "status": status, "code": code, "param": name_in(body.get("param"))}
    fields["retry_after"] = retry_after(headers)
    if status == 401:
        return UpstreamUnauthorized(upstream=name, status=401)  # in our words: a message may quote a part of our key
    if status == 402:
        return UpstreamBusy(message, **fields | {"code": "insufficient_quota"})
    if status == 429:
        return UpstreamBusy(message, **fields)
    if status in _REFUSES:
        return UpstreamRefused(message, **fields)
    return UpstreamUnknown(f"The upstream '{name}' answered {status}: {message}", **fields)


def file_id(name: str, raw: Raw) -> str:
    """Returns the file's id once it can be trained on. Raises UpstreamNotReady, UpstreamRefused for a bad one."""
    found = name_in(raw.get("id"))
    if found is None or not is_id(found):
        raise UpstreamUnknown(upstream=name, why="the answer is not a file")
    status = text(raw.get("processing_status"))
    if status in ("COMPLETED", None):  # a file of before there was a check has no status
        return found
    if status in ("INVALID_FORMAT", "FAILED"):
        said = text(table(raw.get("validation_report")).get("error"))
        message = said or f"The upstream's check of the file ended with {status}, without a reason."
        raise UpstreamRefused(message, upstream=name, code=status.lower())
    raise UpstreamNotReady(upstream=name, code="file_not_ready")


def job(name: str, raw: Raw, *, error: JobError | None = None) -> UpstreamJob:
    """Returns a job. Raises UpstreamUnknown for anything else. `error`: why a failed one did, from its events."""
    job_id, shown = name_in(raw.get("id")), name_in(raw.get("status"))
    if job_id is None or shown is None or not is_id(job_id):
        raise UpstreamUnknown(upstream=name, why="the answer is not a fine-tuning job")
    status = status_of(shown)
    return UpstreamJob(
        id=job_id,
        status=status,
        created_at=unix(raw.get("created_at")),
        finished_at=(unix(raw.get("updated_at")) or None) if status in ENDS else None,
        model=name_in(raw.get("model")) or "",
        fine_tuned_model=name_in(raw.get("model_output_name")) if status == "succeeded" else None,
        trained_tokens=whole(raw.get("token_count")),
        error=(error or error_in(messages(job_id, raw.get("events")))) if status == "failed" else None,
        hyperparameters={"n_epochs": whole(raw.get("n_epochs")), "batch_size": whole(raw.get("batch_size"))},
        seed=whole(raw.get("random_seed")),
        training_file=name_in(raw.get("training_file")),
        validation_file=name_in(raw.get("validation_file")),
        result_files=[f"{RESULTS}{job_id}"] if status == "succeeded" else [],
    )


def status_of(shown: str) -> str:
    """Returns OpenAI's status. An unknown one is shown as it is and ends nothing."""
    return STATUSES.get(shown, f"unknown ({shown})" if shown in ENDS else shown)


def jobs(name: str, answer: Raw) -> list[UpstreamJob]:
    """Returns the whole list, newest first, without unreadable rows. A failed job's row does not tell why it failed."""
    found = readable(name, rows(name, answer), partial(job, name))
    return sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)


def ours(name: str, answer: Raw, spec: JobSpec, tag: str, *, training_file: str, since: int) -> list[UpstreamJob]:
    """Returns the jobs with our mark in their suffix or model, oldest first; without any, those that look alike.

    A job with our mark gets its tag as metadata: an extra one may be cancelled. Alike is a job that shows no suffix,
    has our seed and file, and was created at `since` (unix seconds) or later; it may be another program's.
    """
    ending = suffix_mark(tag)
    marked = [raw for raw in rows(name, answer) if _is_marked(raw, ending)]
    if marked:
        found = [job(name, raw).model_copy(update={"metadata": {TAG: tag}}) for raw in marked]
        return sorted(found, key=lambda job: (job.created_at, job.id))
    alike: list[UpstreamJob] = []
    for raw in rows(name, answer):
        if raw.get("suffix") or raw.get("random_seed") != spec.seed:
            continue
        if training_file in ("", raw.get("training_file")) and unix(raw.get("created_at")) >= since:
            alike.append(job(name, raw))
    return sorted(alike, key=lambda job: (job.model != spec.model, job.created_at, job.id))


def made(name: str, raw: Raw, tag: str) -> UpstreamJob:
    """Returns the job that a create made. Raises UpstreamUnknown for an answer that shows another job's suffix."""
    if text(raw.get("suffix")) and not _is_marked(raw, suffix_mark(tag)):
        raise UpstreamUnknown(upstream=name, why="the answer is about another job")
    return job(name, raw)


def _is_marked(raw: Raw, ending: str) -> bool:
    suffix = text(raw.get("suffix"))
    return suffix.lower().endswith(ending) if suffix else ending in (text(raw.get("model_output_name")) or "").lower()


def models(name: str, answer: Raw) -> list[dict[str, Any]]:
    """Returns the models that can be trained. The rows are names or objects."""
    listed = answer.get("data", answer.get("models"))
    if not isinstance(listed, list):
        raise UpstreamUnknown(upstream=name, why="the answer is not a list")
    names = [name_in(row) or _model_name(table(row)) for row in listed]
    return [{"id": one, "owned_by": "together", "capabilities": {"fine_tune": True}} for one in names if one]


def _model_name(row: Raw) -> str | None:
    return name_in(row.get("id")) or name_in(row.get("model_name")) or name_in(row.get("name"))
