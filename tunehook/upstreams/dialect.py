"""Dialects: translates upstreams' answers into our model. Pure; see also docs/simulator.md.

For example: a healthy job has an `error` full of nulls; Azure has null `result_files` and an `n_epochs` of -1; a
refusal about slots, quota or a file still being processed does not refuse the job.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnknown,
)
from tunehook.model.job import TAG, JobError, Message, UpstreamJob, fingerprint, is_upstream_id
from tunehook.upstreams.members import NAME_CHARS, TEXT_CHARS, retry_after, rows
from tunehook.upstreams.protocol import News

log = logging.getLogger(__name__)

#: Statuses that refuse for good. 401 is about our key; 408, 409, 429 and 5xx leave the outcome open.
REFUSALS = frozenset({400, 403, 404, 412, 422})
#: How a create is refused for a file that is not ready yet; the second is Azure's.
NOT_READY = ("still being processed", "file import not completed")
#: Bytes of an event's data that are kept.
DATA_BYTES = 16 * 1024
#: No job trains as many, and their price in millionths of a dollar is still exact in Redis' scripts.
MOST_TOKENS = 10**13
#: A job has one result file; more than this are not fetched.
RESULT_FILES = 20
#: A job's method with its grader, hyperparameters and metadata; a request of ours has at most 1 MiB.
JOB_BYTES = 2 * 1024 * 1024
#: So many rows of a list are taken, from an upstream that gives more than it was asked for.
EVENTS, CHECKPOINTS = 10_000, 1000


def refusal(name: str, status: int, body: object, headers: Mapping[str, str]) -> UpstreamError:
    """Returns the error for an HTTP error answer. `body`: its `error` member, if the SDK found one."""
    error = body if isinstance(body, dict) else {}
    message = str(error.get("message") or f"HTTP {status}")[:TEXT_CHARS]
    code = str(error["code"])[:NAME_CHARS] if error.get("code") else None
    fields: dict[str, Any] = {"upstream": name, "status": status, "code": code}
    fields["retry_after"] = retry_after(headers)
    param = str(error["param"])[:NAME_CHARS] if error.get("param") else None
    if 300 <= status < 400:
        why = (
            f"it redirects the call ({status}), and redirects are not followed; its operator must correct its base URL"
        )
        return UpstreamUnknown(why=why, **fields)
    if status == 400 and any(words in message.lower() for words in NOT_READY):
        return UpstreamNotReady(message, param=param, **fields)
    if status in REFUSALS:
        return UpstreamRefused(message, param=param, **fields)
    if status == 401:
        return UpstreamUnauthorized(**fields)  # in our words: the upstream's quote a part of our key
    if status == 402:
        return UpstreamBusy(message, param=param, **fields | {"code": "insufficient_quota"})
    if status == 429:
        return UpstreamBusy(message, param=param, **fields)
    return UpstreamUnknown(f"The upstream '{name}' answered {status}: {message}", **fields)


def described(raw: Mapping[str, Any], file_id: str) -> tuple[str, int | None]:
    """Returns a file's name, and its bytes if it says so. A name that is none becomes its id."""
    filename, size = raw.get("filename"), raw.get("bytes")
    named = isinstance(filename, str) and 0 < len(filename) <= NAME_CHARS and filename.isprintable()
    counted = isinstance(size, int) and not isinstance(size, bool) and size > 0
    return str(filename) if named else f"{file_id}.jsonl", size if counted else None


def job(name: str, raw: object) -> UpstreamJob:
    """Returns a job. Raises UpstreamUnknown for anything else: the call may have had an effect."""
    if not isinstance(raw, dict) or not raw.get("id") or not isinstance(raw.get("status"), str):
        raise UpstreamUnknown(upstream=name, why="the answer is not a fine-tuning job")
    if not is_upstream_id(raw["id"]):
        raise UpstreamUnknown(upstream=name, why="the job's id is not a usable id")
    results, made = raw.get("result_files"), raw.get("fine_tuned_model")
    method, labels = raw.get("method"), raw.get("metadata")
    large = {
        "hyperparameters": _without_minus_one(raw.get("hyperparameters")),
        "method": _method(method) if isinstance(method, dict) and isinstance(method.get("type"), str) else None,
        "metadata": {label: _text(value) for label, value in labels.items()} if isinstance(labels, dict) else None,
    }
    if len(to_json(large)) > JOB_BYTES:  # of pydantic_core: for 10,000 jobs 0.1 s less than json.dumps
        raise UpstreamUnknown(upstream=name, why="the job is too large")
    known = {
        "id": raw["id"],
        "status": raw["status"][:NAME_CHARS] or "unknown",
        "created_at": raw.get("created_at") or 0,
        "finished_at": raw.get("finished_at"),
        "model": str(raw.get("model") or ""),
        "fine_tuned_model": made if isinstance(made, str) and len(made) <= NAME_CHARS else None,
        "trained_tokens": _tokens(raw.get("trained_tokens")),
        "estimated_finish": raw.get("estimated_finish"),
        "error": job_error(raw.get("error")),
        "seed": raw.get("seed"),
        "training_file": raw.get("training_file"),
        "validation_file": raw.get("validation_file") or None,
        "result_files": [file for file in results if is_upstream_id(file)][:RESULT_FILES]
        if isinstance(results, list)
        else [],
        **large,
    }
    try:
        return UpstreamJob.model_validate(known)
    except ValidationError as error:
        member = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UpstreamUnknown(upstream=name, why=f"the job's member {member} has a wrong type") from error


def jobs(name: str, answer: Mapping[str, Any], *, tag: str | None = None) -> tuple[list[UpstreamJob], bool]:
    """Returns a page of jobs, without unreadable ones, and whether there are more.

    With `tag`, raises UpstreamUnknown when the job with that mark is unreadable, or a whole page that is not the last.
    """
    found = [read for row in rows(name, answer) if (read := _readable(name, row, tag))]
    more = bool(answer.get("has_more"))
    if tag is not None and more and answer.get("data") and not found:  # the search cannot go on behind it
        raise UpstreamUnknown(upstream=name, why="a page of its list cannot be read")
    return found, more


def news(name: str, answer: Mapping[str, Any], known: Mapping[str, str]) -> News:
    """Returns a page for a poll. A row whose fingerprint is known is not read: that costs 2 µs instead of 20."""
    changed: list[UpstreamJob] = []
    unchanged: list[str] = []
    last: str | None = None
    for row in rows(name, answer):
        job_id, get = row.get("id"), row.get
        told = fingerprint(get("status"), get("finished_at"), get("fine_tuned_model"), get("estimated_finish"))
        if isinstance(job_id, str) and known.get(job_id) == told:
            unchanged.append(job_id)
            last = job_id
        elif read := _readable(name, row):
            changed.append(read)
            last = read.id
    return News(changed, unchanged, last if answer.get("has_more") else None)


def _readable(name: str, row: dict[str, Any], tag: str | None = None) -> UpstreamJob | None:
    """Returns the job, or None for an unreadable one; raises UpstreamUnknown where that has the mark `tag`."""
    try:
        return job(name, row)
    except UpstreamUnknown as error:
        metadata = row.get("metadata")
        if tag is not None and isinstance(metadata, dict) and metadata.get(TAG) == tag:
            raise
        log.warning("job %s at %s is left out: %s", str(row.get("id"))[:80], name, error.message)
        return None


def identifier(name: str, answer: object) -> str:
    if not isinstance(answer, dict) or not is_upstream_id(answer.get("id")):
        raise UpstreamUnknown(upstream=name, why="the answer has no id")
    return str(answer["id"])


def job_error(raw: object) -> JobError | None:
    """Returns None for `{"code": null, …}` and `{}`, which healthy jobs have."""
    if not isinstance(raw, dict) or not (raw.get("code") or raw.get("message")):
        return None
    param = raw.get("param")
    return JobError(
        code=str(raw.get("code") or "error")[:NAME_CHARS],
        message=str(raw.get("message") or raw["code"])[:TEXT_CHARS],
        param=str(param)[:NAME_CHARS] if param else None,
    )


def messages(raw: list[dict[str, Any]]) -> list[Message]:
    """Returns the events in the order given, newest first."""
    return [
        Message(
            created_at=_moment(row.get("created_at")),
            level=str(row.get("level") or "info")[:NAME_CHARS],
            message=str(row.get("message") or "")[:TEXT_CHARS],
            type=str(row.get("type") or "message")[:NAME_CHARS],
            data=_data(row.get("data")),
            upstream_event_id=_event_id(str(row.get("id") or "")),
        )
        for row in raw[:EVENTS]
    ]


def checkpoints(name: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a page of checkpoints, its rows as they are."""
    data = answer.get("data")
    if not isinstance(data, list):
        raise UpstreamUnknown(upstream=name, why="the answer is not a list")
    return {**answer, "data": [row for row in data if isinstance(row, dict)][:CHECKPOINTS]}


def _data(raw: object) -> dict[str, Any] | None:
    """Returns an event's data, unless it is no object or far larger than metrics are."""
    return raw if isinstance(raw, dict) and len(to_json(raw)) <= DATA_BYTES else None


def _event_id(raw: str) -> str:
    """Returns the id; of one that is not like an id, a hash; "" for none."""
    return (
        raw
        if not raw or is_upstream_id(raw)
        else "sha256-" + hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()
    )


def _moment(raw: object) -> int:
    """Returns unix seconds; 0 for anything that is no number."""
    return int(raw) if isinstance(raw, int | float) and abs(raw) < 2**53 else 0


def _tokens(raw: object) -> object:
    """Returns a count of tokens; None for one that no job has, whose price would be no number in Redis."""
    return None if isinstance(raw, int | float) and not 0 <= raw < MOST_TOKENS else raw


def _text(value: object) -> str:
    """Returns the value of a metadata pair, which is a text at OpenAI; other upstreams have numbers, too."""
    return value if isinstance(value, str) else json.dumps(value)


def _without_minus_one(raw: object) -> dict[str, Any] | None:
    if not isinstance(raw, dict):
        return None
    return {name: "auto" if value == -1 else value for name, value in raw.items()}


def _method(raw: dict[str, Any]) -> dict[str, Any]:
    cleaned = dict(raw)
    kind = raw["type"]
    inner = raw.get(kind)
    if isinstance(inner, dict) and isinstance(inner.get("hyperparameters"), dict):
        cleaned[kind] = inner | {"hyperparameters": _without_minus_one(inner["hyperparameters"])}
    return cleaned
