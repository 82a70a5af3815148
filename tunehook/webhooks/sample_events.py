"""Sample events for test webhooks: one of each type, about a job that does not exist. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tunehook.errors import InvalidParameter
from tunehook.model.job import FileRef, Job, JobError, JobSpec, Stage, UpstreamJob, Waiting
from tunehook.model.webhook import Event
from tunehook.openai_format import jobs, json_text
from tunehook.webhooks import event_types as types
from tunehook.webhooks import publishing

_BASE = "gpt-4.1-mini-2025-04-14"
_MODEL = f"ft:{_BASE}:example:test:Sample00"
_JOB = "ftjob-test000000000000000000"


def sample_event(kind: str, project: str, *, now: int) -> Event:
    """Returns an event of the type with a new id; `metadata.test` marks it as a sample."""
    return publishing.make_event(kind, _data(kind, now), project=project, job_id=None, now=now)


def with_members(event: Event, members: Mapping[str, object]) -> Event:
    """Returns the event with members of its body replaced: path such as `data.status` → value.

    Raises InvalidParameter for a path through what is no object.
    """
    body: dict[str, Any] = json.loads(event.body)
    for path, value in members.items():
        *parents, last = path.split(".")
        place: Any = body
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise InvalidParameter(
                param="set", why=f"{path!r} has no place in {event.type}: name one such as data.status"
            )
        place[last] = value
    return event.model_copy(update={"body": json_text.compact(body)})


def _data(kind: str, now: int) -> dict[str, Any]:
    match kind:
        case types.CHECKPOINT:
            return {
                "id": _JOB,
                "checkpoint": _checkpoint(now),
                "metadata": {"test": "true"},
                "tunehook": {"sequence": 9},
            }
        case types.RETIRING:
            day = (datetime.fromtimestamp(now, UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
            return {
                "model": _MODEL, "base_model": _BASE, "job_id": _JOB, "upstream": "openai", "shutdown_date": day,
                "training_file": "file-test", "validation_file": None, "suffix": None,
                "method": {"type": "supervised"}, "hyperparameters": {"n_epochs": 3},
            }  # fmt: skip
        case types.UPSTREAM_REFUSED:
            said = "Incorrect API key provided. (This is a test.)"
            return {"upstream": "openai", "code": "invalid_api_key", "message": said, "waiting_jobs": 3}
        case types.RECORD_PARKED:
            return {"record_id": _JOB, "claims": 20, "message": "Nothing came of 20 steps in a row. (This is a test.)"}
        case types.ENDPOINT_DISABLED:
            why = "your server answered 410 Gone, which asks for no more webhooks (this is a test)"
            url = "https://you.example/old"
            return {"id": "we_test", "name": "test", "url": url, "reason": why, "disabled_at": now}
    return jobs.job_event_data(_job(kind, now), revision=9)


def _job(kind: str, now: int) -> Job:
    job = Job(
        id=_JOB,
        project="test",
        key_id="test",
        created_at=now - 3600,
        spec=JobSpec(model=_BASE, training_file="file-test", seed=42, metadata={"test": "true"}),
        upstream="openai",
        training=FileRef(id="file-test", sha256="", bytes=0),
    )
    seen = UpstreamJob(id="ftjob-upstream", status="running", created_at=now - 3500, model=_BASE)
    tracked: dict[str, Any] = {"stage": Stage.TRACKED, "upstream_job_id": seen.id, "seen": seen}
    match kind:
        case types.CREATED:
            return job
        case types.WAITING:
            reason = "There is no free slot at the upstream. (This is a test.)"
            waiting = Waiting(code="no_slot", reason=reason, since=now, retry_at=now + 60)
            return job.model_copy(update={"stage": Stage.WAITING, "waiting": waiting})
        case types.RUNNING | types.STALLED:
            return job.model_copy(update=tracked)
    status = "succeeded" if kind == types.READY else kind.rpartition(".")[2]
    ended: dict[str, Any] = {"status": status, "finished_at": now}
    if status == "succeeded":
        ended |= {"fine_tuned_model": _MODEL, "trained_tokens": 31768}
    error = JobError(code="invalid_training_file", message="This is a test.", param="training_file")
    changes = {"status": status, "settled_at": now, "error": error if status == "failed" else None}
    last = seen.model_copy(update=ended)
    return job.model_copy(update={**tracked, **changes, "stage": Stage.SETTLED, "seen": last})


def _checkpoint(now: int) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": "ftckpt_test",
        "created_at": now,
        "fine_tuned_model_checkpoint": f"{_MODEL}:ckpt-step-90",
        "fine_tuning_job_id": _JOB,
        "metrics": {"step": 90, "train_loss": 0.42},
        "step_number": 90,
    }
