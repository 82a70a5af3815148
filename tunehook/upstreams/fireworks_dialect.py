"""Fireworks' dialect: its names, states and errors, as our model has them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnknown,
)
from tunehook.model.job import ENDS, JobError, JobSpec, UpstreamJob
from tunehook.upstreams.members import (
    Raw,
    digest,
    is_id,
    name_in,
    retry_after,
    table,
    text,
    unix,
    whole,
)

SUPERVISED, DPO = "supervisedFineTuningJobs", "dpoJobs"
#: The query member with which a client names the new job.
ID_PARAM = {SUPERVISED: "supervisedFineTuningJobId", DPO: "dpoJobId"}

#: google.rpc.Code, which says more than the HTTP status does.
CODES = {
    1: "cancelled",
    3: "invalid_argument",
    4: "deadline_exceeded",
    5: "not_found",
    6: "already_exists",
    7: "permission_denied",
    8: "resource_exhausted",
    9: "failed_precondition",
    10: "aborted",
    11: "out_of_range",
    12: "unimplemented",
    13: "internal",
    14: "unavailable",
    16: "unauthenticated",
}
EXISTS = "already_exists"
_REFUSES = frozenset({"invalid_argument", "not_found", "permission_denied", "failed_precondition", "out_of_range"})
_STATUSES_REFUSE = frozenset({400, 403, 404, 405, 412, 413, 415, 422})

STATES = {
    "VALIDATING": "validating_files",
    "CREATING_INPUT_DATASET": "validating_files",
    "CREATING": "queued",
    "PENDING": "queued",
    "RE_QUEUEING": "queued",
    "IDLE": "queued",
    "RUNNING": "running",
    "WRITING_RESULTS": "running",
    "CANCELLING": "running",
    "PAUSED": "paused",
    "COMPLETED": "succeeded",
    "EARLY_STOPPED": "succeeded",
    "FAILED": "failed",
    "EXPIRED": "failed",
    "CANCELLED": "cancelled",
    "DELETING": "cancelled",
    "DELETING_CLEANING_UP": "cancelled",
}


def named(mark: str) -> str:
    """Returns the id of ours that stands for a mark: a job's tag, or a file's name."""
    return f"th-{digest(mark, 32)}"


def is_named(name: str) -> bool:
    """Whether an id is one that `named` gives."""
    return re.fullmatch(r"th-[0-9a-f]{32}", name) is not None


def same_request(raw: Raw, spec: JobSpec, training: str) -> bool:
    """Returns whether a job with our id trains what was asked for. A member that is not shown counts as the same."""
    shown = table(raw.get("trainingConfig")).get("baseModel") or raw.get("baseModel")
    pairs = ((name_in(shown), spec.model), (name_in(raw.get("dataset")), training))
    return all(not theirs or not ours or _last(theirs) == _last(ours) for theirs, ours in pairs)


def path_of(job_id: str) -> tuple[str, str] | None:
    """Returns the collection and the id in it; a supervised job's id is plain. None for no id of a job."""
    folder, colon, plain = job_id.rpartition(":")
    if colon and folder not in ID_PARAM:
        return None
    return (folder or SUPERVISED, plain) if is_id(plain) else None


def refusal(name: str, status: int, value: object, headers: Mapping[str, str]) -> UpstreamError:
    """Returns the error for an HTTP error answer: google.rpc.Status, flat or as its member `error`."""
    body = table(value)
    body = table(body.get("error")) or body
    number = whole(body.get("code"))
    code = CODES.get(number) if number is not None else None
    message = own_names(text(body.get("message")) or f"HTTP {status}")
    fields: dict[str, Any] = {"upstream": name, "status": status, "code": code}
    fields["retry_after"] = retry_after(headers)
    if status == 401 or code == "unauthenticated":
        return UpstreamUnauthorized(upstream=name, status=status)  # in our words: a message may quote a part of our key
    if status == 402:
        return UpstreamBusy(message, **fields | {"code": "insufficient_quota"})
    if status == 429 or code == "resource_exhausted":
        return UpstreamBusy(message, **fields | {"code": None})
    if code == EXISTS or (status == 409 and code is None):
        return UpstreamUnknown(message, **fields | {"code": EXISTS})
    if code in _REFUSES or (code is None and status in _STATUSES_REFUSE) or status in (412, 413):
        return UpstreamRefused(message, **fields)
    return UpstreamUnknown(f"The upstream '{name}' answered {status}: {message}", **fields)


def job(name: str, raw: Raw, folder: str) -> UpstreamJob:
    """Returns a job. Raises UpstreamUnknown for anything else: the call may have had an effect."""
    full, state = name_in(raw.get("name")) or "", name_in(raw.get("state"))
    plain = _last(full)
    if state is None or not is_id(plain):
        raise UpstreamUnknown(upstream=name, why="the answer is not a fine-tuning job")
    status = status_of(state)
    config = table(raw.get("trainingConfig")) or raw
    ended = unix(raw.get("completedTime")) or unix(raw.get("updateTime"))
    output = name_in(config.get("outputModel")) or plain
    account = full.rpartition(f"/{folder}/")[0]
    return UpstreamJob(
        id=plain if folder == SUPERVISED else f"{folder}:{plain}",
        status=status,
        created_at=unix(raw.get("createTime")),
        finished_at=(ended or None) if status in ENDS else None,
        model=name_in(config.get("baseModel")) or "",
        fine_tuned_model=_model(account, output) if status == "succeeded" else None,
        trained_tokens=whole(table(raw.get("jobProgress")).get("inputTokens")),
        error=_error(raw, state) if status == "failed" else None,
        hyperparameters={"n_epochs": whole(config.get("epochs")), "batch_size": whole(config.get("batchSizeSamples"))},
        training_file=_last(name_in(raw.get("dataset")) or "") or None,
        validation_file=_last(name_in(raw.get("evaluationDataset")) or "") or None,
    )


def named_job(name: str, raw: Raw, folder: str, tag: str) -> UpstreamJob:
    """Returns the job under the id that stands for the tag. Raises UpstreamUnknown for an answer about another."""
    found = job(name, raw, folder)
    if path_of(found.id) != (folder, named(tag)):
        raise UpstreamUnknown(upstream=name, why="the answer is about another job")
    return found


def status_of(state: str) -> str:
    """Returns OpenAI's status. An unknown state is shown as it is and ends nothing."""
    plain = state.removeprefix("JOB_STATE_")
    return STATES.get(plain, f"JOB_STATE_{plain}")


def _model(account: str, output: str) -> str:
    return output if "/" in output or not account else f"{account}/models/{output}"


def _error(raw: Raw, state: str) -> JobError:
    status = table(raw.get("status"))
    code = (name_in(status.get("code")) or state.removeprefix("JOB_STATE_")).lower()
    said = text(status.get("message")) or f"The job's state is {state}, without a reason."
    if code == "internal":
        said += " At this upstream, an internal error may come from a bad dataset."
    return JobError(code=code, message=own_names(said))


def dataset_id(name: str, raw: Raw, dataset: str) -> str:
    """Returns the dataset's id once it can be trained on. Raises UpstreamNotReady, UpstreamRefused for a bad one."""
    shown = name_in(raw.get("name"))
    if shown is not None and _last(shown) != dataset:
        raise UpstreamUnknown(upstream=name, why="the answer is about another dataset")
    if text(raw.get("state")) == "READY":
        return dataset
    status = table(raw.get("status"))
    code, message = name_in(status.get("code")) or "OK", text(status.get("message"))
    if code != "OK":
        raise UpstreamRefused(message or f"The dataset is refused: {code}.", upstream=name, code=code.lower())
    raise UpstreamNotReady(upstream=name, code="file_not_ready")


def models(found: list[dict[str, Any]], account: str) -> list[dict[str, Any]]:
    """Returns the models of an account, by their full names, and whether they can be trained."""
    return [
        {
            "id": row["name"],
            "created": unix(row.get("createTime")),
            "owned_by": account,
            "capabilities": {"fine_tune": row.get("tunable") is True},
        }
        for row in found
        if name_in(row.get("name"))
    ]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def own_names(message: str) -> str:
    """Writes the name of a DPO job as its id is written here, so that it is recognised."""
    return message.replace(f"{DPO}/", f"{DPO}:")
