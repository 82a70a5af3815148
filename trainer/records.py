"""What the trainer keeps: jobs, files and uploads as records, each in a folder of its own."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from wire.dataset import Dataset


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    project: str
    created_at: float


class Job(Record):
    """A create as it was resolved; `job.json`, which the training process reads as well.

    `model`: the base's alias. `base`: the folder of its weights. `tuned_model`: the name that the result gets."""

    model: str
    base: str
    method: str
    training: str
    lora_r: int
    hyperparameters: dict[str, float | int]
    learning_rates: dict[str, float] = {}
    seed: int
    suffix: str | None
    tuned_model: str
    training_file: str
    validation_file: str | None
    examples: int
    context: int | None = None
    request: dict[str, Any]

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.request.get("metadata") or {}

    def token(self, purpose: str) -> str:
        return hashlib.sha256(f"{self.id}/{purpose}".encode()).hexdigest()[:24]


class File(Record):
    """`expires_at`: None for never."""

    filename: str
    purpose: str
    size: int
    expires_at: float | None
    dataset: Dataset | None

    def is_expired(self) -> bool:
        return time.time() >= (math.inf if self.expires_at is None else self.expires_at)


class Upload(Record):
    filename: str
    purpose: str
    size: int
    expires_after: int | None


def job_id_of(project: str, body: Mapping[str, Any], idempotency_key: str | None, random: str) -> str:
    """Returns the id of a job: the same for each repeat of a create that bears a mark or an Idempotency-Key."""
    mark = (body.get("metadata") or {}).get("tunehook")
    kind, text = ("mark", mark) if mark else ("key", idempotency_key) if idempotency_key else ("random", random)
    return "ftjob-" + hashlib.sha256(json.dumps([project, kind, text]).encode()).hexdigest()[:24]


def dump(record: Record, folder: Path, name: str) -> None:
    (folder / name).write_text(record.model_dump_json(), "utf-8")
