"""Together's log of a job: events, checkpoints and metrics, as OpenAI's. Pure."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from tunehook.model.job import JobError, Message
from tunehook.upstreams.dialect import EVENTS
from tunehook.upstreams.members import Raw, digest, is_id, name_in, number, rows, table, text, unix, whole

_ENDS_IN_ERROR = frozenset({"job_error", "job_user_error", "billing_limit"})
_CHECKPOINT = "checkpoint_save"
#: Begins the id of a result file that is made of a job's metrics.
RESULTS = "metrics:"


def messages(job_id: str, found: object) -> list[Message]:
    """Returns the events, newest first. They have no ids: each gets one that is made of what it says."""
    told: list[Message] = []
    repeated: Counter[str] = Counter()
    for raw in found[-EVENTS:] if isinstance(found, list) else []:
        row = table(raw)
        kind, said = (name_in(row.get("type")) or "message").lower(), text(row.get("message")) or ""
        if not said and kind == "message":
            continue
        step = whole(row.get("step"))
        key = digest(f"{row.get('created_at')}|{kind}|{step}|{said}", 16)
        repeated[key] += 1
        if kind == _CHECKPOINT and "checkpoint" not in said.lower():
            said = f"Checkpoint saved: {said}"
        data: dict[str, Any] = {"type": kind} | ({"step": step} if step is not None else {})
        told.append(
            Message(
                created_at=unix(row.get("created_at")),
                level=_level(row.get("level")),
                message=said or kind,
                data=data,
                upstream_event_id=f"{job_id}:{key}-{repeated[key]}",
            )
        )
    return sorted(told, key=lambda message: message.created_at)[::-1]


def _level(raw: object) -> Literal["info", "warn", "error"]:
    level = (text(raw) or "").lower()
    return "error" if "error" in level else "warn" if "warning" in level else "info"


def error_in(newest_first: Sequence[Message]) -> JobError | None:
    """Returns the reason of a failure: the last event that ends a job in error, or else the last of level error."""
    by_type = [one for one in newest_first if (one.data or {}).get("type") in _ENDS_IN_ERROR]
    by_level = [one for one in newest_first if one.level == "error"]
    last = next(iter(by_type or by_level), None)
    if last is None:
        return None
    return JobError(code=str((last.data or {}).get("type") or "job_error"), message=last.message)


def checkpoints(job_id: str, answer: Raw, *, after: str | None, limit: int, name: str) -> dict[str, Any]:
    """Returns OpenAI's list, the last step first. A checkpoint is named as Together's `from_checkpoint` takes it."""
    by_step: dict[int, dict[str, Any]] = {}
    for raw in rows(name, answer):
        step = whole(raw.get("step"))
        if step is not None:
            by_step[step] = {
                "id": f"{job_id}:{step}",
                "created_at": unix(raw.get("created_at")),
                "fine_tuned_model_checkpoint": name_in(raw.get("object_name")) or f"{job_id}:{step}",
                "metrics": {"step": step},
                "step_number": step,
            }
    found = [by_step[step] for step in sorted(by_step, reverse=True)]
    places = [row["id"] for row in found]
    begin = places.index(after) + 1 if after in places else 0
    return {"object": "list", "data": found[begin : begin + limit], "has_more": len(found) > begin + limit}


def results_of(file: str) -> str | None:
    """Returns the job whose metrics a result file is made of; None for another id."""
    job_id = file.removeprefix(RESULTS)
    return job_id if file.startswith(RESULTS) and is_id(job_id) else None


def metrics_csv(answer: Raw) -> bytes:
    """Returns the metrics as OpenAI's result file, which has a line a step."""
    columns = {"train_loss": "train/loss", "train_accuracy": "", "valid_loss": "eval/loss"}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", *columns, "valid_mean_token_accuracy"])
    metrics = answer.get("metrics")
    for raw in metrics if isinstance(metrics, list) else []:
        row = table(raw)
        step = number(row.get("train/global_step"))
        if step is not None:
            values = [number(row.get(column)) for column in columns.values()]
            writer.writerow([int(step), *("" if value is None else f"{value:g}" for value in values), ""])
    return out.getvalue().encode()
