"""A tiny base, and jobs that are trained on it by real processes. `make trainer-test` runs what is here."""

import os
from pathlib import Path

import pytest

from tests.trainer.jobs import FACTS, make_job, train

# One thread: bytes are compared, and two cores are shared.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.tune.tiny import make  # noqa: PLC0415  (torch: only where such a test runs)

    folder = tmp_path_factory.mktemp("base") / "tiny"
    make(folder, [f"{question} {answer}" for question, answer in FACTS])
    return folder


@pytest.fixture(scope="session")
def by_heart(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that was trained by one process until it knew each fact."""
    folder = make_job(tmp_path_factory.mktemp("jobs") / "heart", base, epochs=50)
    assert train(folder) == 0
    return folder
