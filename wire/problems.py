"""Refusals, in the shape and words of OpenAI."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Problem(Exception):
    """A refusal in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}`` under an HTTP status."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, object]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def bad(message: str, *, param: str | None = None, code: str | None = None) -> Problem:
    return Problem(400, message, code, param)


ENDED = frozenset({"succeeded", "failed", "cancelled"})


def check_action(action: str, job_id: str, status: str) -> None:
    """Raises Problem 400 where a job cannot be cancelled, paused or resumed in its status."""
    allowed = {
        "cancel": status not in ENDED,
        "pause": status in {"queued", "running", "resuming"},
        "resume": status in {"pausing", "paused"},
    }
    if not allowed[action]:
        raise bad(f"Cannot {action} job {job_id}: it has status '{status}'.", code="invalid_state")


def no_such_job(job_id: str) -> Problem:
    return Problem(404, f"Could not find fine tune: {job_id}", "fine_tune_not_found", "fine_tune_id")


def no_such_file(file_id: str) -> Problem:
    return Problem(404, f"No such File object: {file_id}", None, "id")


def no_such_upload(upload_id: str) -> Problem:
    return Problem(404, f"No such Upload object: {upload_id}", None, "id")


def no_such_model(model: str) -> Problem:
    return Problem(404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found", None)
