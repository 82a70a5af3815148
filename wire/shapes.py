"""OpenAI's objects: job, event, checkpoint, file, upload, model.  (pure)

Times are unix seconds."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from wire.bodies import UPLOAD
from wire.problems import Problem, bad

Row = dict[str, object]


#: The `error` of a healthy job: users recorded an object full of nulls.
_NO_ERROR = {"code": None, "message": None, "param": None}


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)


def new_id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:24]}"


class Record(BaseModel):
    id: str
    created_at: float


class File(Record):
    """`expires_at`: None for never."""

    filename: str
    purpose: str
    size: int
    expires_at: float | None

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def shown(self, *, trouble: str | None = None, ready: bool = True) -> Row:
        """`trouble`: what is wrong with it. `ready`: whether it is processed."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": int(self.created_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "error" if trouble else "processed" if ready else "uploaded",
            "status_details": trouble,
            "expires_at": _seconds(self.expires_at),
        }


Found = TypeVar("Found", bound=File)


def training_files(find: Callable[[str], Found], body: Mapping[str, Any]) -> tuple[Found, Found | None]:
    """A job's training and validation file. Raises Problem 400 unless they are there, uploaded for fine-tuning."""
    files = []
    for param in ("training_file", "validation_file"):
        if name := body.get(param):
            try:
                found = find(name)
            except Problem as unknown:
                raise bad(f"invalid {param}: {name}", param=param, code="invalid_value") from unknown
            if found.purpose != "fine-tune":
                words = f"File '{name}' has purpose '{found.purpose}'; it must be 'fine-tune'."
                raise bad(words, param=param, code="invalid_file_purpose")
            files.append(found)
    return files[0], files[1] if files[1:] else None


#: Seconds after which an upload that is not complete expires.
UPLOAD_SECONDS = 3600


class Upload(Record):
    filename: str
    purpose: str
    size: int
    expires_after: int | None

    @classmethod
    def of(cls, body: dict[str, Any], now: float, **more: object) -> Self:
        """Raises Problem 400 for a `POST /uploads` body that the API would refuse. `more`: the server's own members."""
        UPLOAD(body, "")
        expires_after = body.get("expires_after", {}).get("seconds")
        given = {**body, "size": body["bytes"], "expires_after": expires_after}
        return cls.model_validate({"id": new_id("upload"), "created_at": now, **given, **more})

    def unended(self, now: float) -> str:
        """The status of one that was neither completed nor cancelled."""
        return "expired" if now >= self.created_at + UPLOAD_SECONDS else "pending"

    def check_pending(self, status: str) -> None:
        if status != "pending":
            raise bad(f"Upload {self.id} is {status}.", param="id", code="invalid_state")

    def shown(self, status: str, made: Row | None) -> Row:
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.size,
            "created_at": int(self.created_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": status,
            "expires_at": int(self.created_at) + UPLOAD_SECONDS,
            "file": made,
        }

    def part(self, name: str, now: float) -> Row:
        return {"id": name, "object": "upload.part", "created_at": int(now), "upload_id": self.id}


def deleted(name: str, kind: str) -> Row:
    return {"id": name, "object": kind, "deleted": True}


#: A job's members, in OpenAI's order.
_JOB: Row = dict.fromkeys((
    "object", "id", "model", "created_at", "finished_at", "fine_tuned_model", "organization_id", "result_files",
    "status", "validation_file", "training_file", "hyperparameters", "trained_tokens", "error", "seed",
    "estimated_finish", "integrations", "metadata", "method", "user_provided_suffix", "usage_metrics",
    "shared_with_openai",
))  # fmt: skip


def job(
    request: Mapping[str, object],
    method: str,
    hyperparameters: Mapping[str, object],
    *,
    created: float,
    finished: float | None,
    estimated: float | None = None,
    error: Row | None,
    grader: object = None,
    **members: object,
) -> Row:
    """A job with what users recorded: an `error` of nulls on healthy jobs, and no hyperparameters on a DPO job.

    `members`: the others, by OpenAI's names; those that are not given are null."""
    inner: Row = {"hyperparameters": hyperparameters} | ({} if grader is None else {"grader": grader})
    return _JOB | {
        "object": "fine_tuning.job",
        "created_at": int(created),
        "finished_at": _seconds(finished),
        "estimated_finish": _seconds(estimated),
        "hyperparameters": hyperparameters if method == "supervised" else None,
        "error": error or _NO_ERROR,
        "integrations": request.get("integrations") or [],
        "metadata": request.get("metadata"),
        "method": {"type": method, method: inner},
        "user_provided_suffix": request.get("suffix"),
        "shared_with_openai": False,
        **members,
    }


def event(name: str, created: float, level: str, message: str, kind: str, data: object) -> Row:
    return {
        "object": "fine_tuning.job.event",
        "id": name,
        "created_at": int(created),
        "level": level,
        "message": message,
        "data": data,
        "type": kind,
    }


def checkpoint(token: str, job_id: str, model: str, created: float, step: int, metrics: Mapping[str, object]) -> Row:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt_{token}",
        "created_at": int(created),
        "fine_tuned_model_checkpoint": model,
        "fine_tuning_job_id": job_id,
        "metrics": metrics,
        "step_number": step,
    }


def model(name: str, *, created: float, owner: str) -> Row:
    return {"id": name, "object": "model", "created": int(created), "owned_by": owner}
