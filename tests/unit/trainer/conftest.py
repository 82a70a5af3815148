"""A trainer's data directory, and jobs in it that are made without a server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.trainer import BASE, prepare
from trainer import folders
from trainer.records import File, Job
from trainer.settings import Config
from trainer.store import Store

Make = Callable[..., Path]
_ROWS = b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(Config(data_dir=tmp_path, models=prepare(tmp_path), min_free_bytes=0))
    yield found
    found.close()


@pytest.fixture
def file(store: Store) -> Callable[[str, float | None], File]:
    """Makes a training file that expires at a time."""

    def make(name: str, expires_at: float | None = None) -> File:
        found = File(
            id=f"file-{name * 24}",
            project="default",
            created_at=1.0,
            filename="a.jsonl",
            purpose="fine-tune",
            size=len(_ROWS),
            expires_at=expires_at,
            dataset=None,
        )
        incoming = store.incoming()
        incoming.write(_ROWS)
        return store.add_file(found, incoming.path)

    return make


@pytest.fixture
def job(store: Store, file: Callable[[str], File]) -> Make:
    """Makes a job with an end, and returns its folder. `runs`: seconds and device of each of its processes."""

    def make(
        name: str, status: str | None = "succeeded", *, runs: Any = (), tokens: int = 0, model: str = BASE
    ) -> Path:
        training = file("f")
        made = Job(
            id=f"ftjob-{name * 24}",
            project="default",
            created_at=1.0,
            model=model,
            base="/base",
            method="supervised",
            training="full",
            lora_r=8,
            hyperparameters={"n_epochs": 1},
            seed=1,
            suffix=None,
            tuned_model=f"ft:{model}:local::{name * 12}",
            training_file=training.id,
            validation_file=None,
            examples=1,
            request={},
        )
        store.add(made, training, None, None)
        folder = store.folder(made)
        for seconds, device in runs:
            folders.tell(folder, "Fine-tuning job started")
            if seconds is not None:
                folders.tell(folder, "It ended", data={"seconds": seconds, "device": device, "exit": 0})
        if status is not None:
            model_folder = folder / "models" / "3"
            model_folder.mkdir(parents=True)
            (model_folder / "weights").write_text("w")
            row = {"step_number": 3, "folder": str(model_folder), "metrics": {}}
            ended = {
                "status": status,
                "trained_tokens": tokens,
                "model_folder": str(model_folder),
                "checkpoints": [row],
            }
            (folder / "result.json").write_text(json.dumps(ended))
        return folder

    return make
