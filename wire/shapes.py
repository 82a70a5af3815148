"""OpenAI's objects: job, event, checkpoint, file, upload, model.  (pure)

Times are unix seconds."""

from collections.abc import Mapping

Row = dict[str, object]


def no_error() -> Row:
    """The `error` of a healthy job: users recorded an object full of nulls."""
    return {"code": None, "message": None, "param": None}


def file(
    name: str,
    filename: str,
    purpose: str,
    *,
    size: int,
    created: float,
    expires: float | None,
    trouble: str | None,
    ready: bool = True,
) -> Row:
    """`trouble`: what is wrong with it. `ready`: whether it is processed."""
    status = "error" if trouble else "processed" if ready else "uploaded"
    return {
        "id": name,
        "object": "file",
        "bytes": size,
        "created_at": int(created),
        "filename": filename,
        "purpose": purpose,
        "status": status,
        "status_details": trouble,
        "expires_at": None if expires is None else int(expires),
    }


#: Seconds after which an upload that is not complete expires.
UPLOAD_SECONDS = 3600


def upload(name: str, filename: str, purpose: str, *, size: int, created: float, status: str, made: Row | None) -> Row:
    return {
        "id": name,
        "object": "upload",
        "bytes": size,
        "created_at": int(created),
        "filename": filename,
        "purpose": purpose,
        "status": status,
        "expires_at": int(created) + UPLOAD_SECONDS,
        "file": made,
    }


def job(
    name: str,
    model: str,
    *,
    status: str,
    created: float,
    finished: float | None,
    tuned_model: str | None,
    organization: str | None,
    result_files: object,
    training_file: str,
    validation_file: str | None,
    method: str,
    hyperparameters: Mapping[str, object],
    trained_tokens: int | None,
    error: Row | None,
    seed: int,
    request: Mapping[str, object],
    estimated_finish: int | None = None,
    grader: object = None,
) -> Row:
    """A job with what users recorded: an `error` of nulls on healthy jobs, and no hyperparameters on a DPO job."""
    inner: Row = {"hyperparameters": hyperparameters}
    if grader is not None:
        inner["grader"] = grader
    return {
        "object": "fine_tuning.job",
        "id": name,
        "model": model,
        "created_at": int(created),
        "finished_at": None if finished is None else int(finished),
        "fine_tuned_model": tuned_model,
        "organization_id": organization,
        "result_files": result_files,
        "status": status,
        "validation_file": validation_file,
        "training_file": training_file,
        "hyperparameters": hyperparameters if method == "supervised" else None,
        "trained_tokens": trained_tokens,
        "error": error or no_error(),
        "seed": seed,
        "estimated_finish": estimated_finish,
        "integrations": request.get("integrations") or [],
        "metadata": request.get("metadata"),
        "method": {"type": method, method: inner},
        "user_provided_suffix": request.get("suffix"),
        "usage_metrics": None,
        "shared_with_openai": False,
    }


def event(name: str, *, created: float, level: str, message: str, kind: str, data: object) -> Row:
    return {
        "object": "fine_tuning.job.event",
        "id": name,
        "created_at": int(created),
        "level": level,
        "message": message,
        "data": data,
        "type": kind,
    }


def checkpoint(name: str, *, job_id: str, model: str, created: float, step: int, metrics: Mapping[str, object]) -> Row:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": name,
        "created_at": int(created),
        "fine_tuned_model_checkpoint": model,
        "fine_tuning_job_id": job_id,
        "metrics": metrics,
        "step_number": step,
    }


def model(name: str, *, created: float, owner: str) -> Row:
    return {"id": name, "object": "model", "created": int(created), "owned_by": owner}
