"""What the trainer keeps: jobs, files and uploads as records, each in a folder of its own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from wire import shapes
from wire.dataset import Dataset


class Owned(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    project: str


class Job(Owned, shapes.Record):
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
    def grader(self) -> dict[str, Any] | None:
        """How answers are rewarded; None: not trained by reinforcement."""
        found: dict[str, Any] = (self.request.get("method") or {}).get("reinforcement") or {}
        return found.get("grader")

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.request.get("metadata") or {}

    def token(self, purpose: str) -> str:
        return hashlib.sha256(f"{self.id}/{purpose}".encode()).hexdigest()[:24]


class Checkpoint(BaseModel):
    step_number: int
    folder: Path
    metrics: dict[str, Any] = {}


class Result(BaseModel):
    """The end of a job, its `result.json`. `checkpoints`: by step; the last is the model itself."""

    status: str
    finished_at: float
    error: dict[str, Any] | None = None
    trained_tokens: int = 0
    model_folder: Path = Path()
    checkpoints: list[Checkpoint] = []

    @property
    def won(self) -> bool:
        return self.status == "succeeded"


class File(Owned, shapes.File):
    dataset: Dataset | None


class Upload(Owned, shapes.Upload):
    pass


def job_id_of(project: str, body: Mapping[str, Any], idempotency_key: str | None, random: str) -> str:
    """Returns the id of a job: the same for each repeat of a create that bears a mark or an Idempotency-Key."""
    mark = (body.get("metadata") or {}).get("tunehook")
    kind, text = ("mark", mark) if mark else ("key", idempotency_key) if idempotency_key else ("random", random)
    return "ftjob-" + hashlib.sha256(json.dumps([project, kind, text]).encode()).hexdigest()[:24]


def dump(record: BaseModel, folder: Path, name: str) -> None:
    (folder / name).write_text(record.model_dump_json(), "utf-8")
