"""What is removed, and what stays: jobs that have ended, files, uploads. And what a training process' end means."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.trainer.conftest import Make
from trainer import folders, work
from trainer.maintenance import tidy
from trainer.records import File, Upload, dump
from trainer.store import Store


def fill(folder: Path) -> None:
    for step in (2, 3):
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "optimizer.pt").write_text("pickle")


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"job.json", "result.json", "turn"}


def test_of_a_job_that_ended_its_model_stays_and_the_rest_goes(store: Store, job: Make) -> None:
    won, failed, deleted, busy, live = job("1"), job("2", "failed"), job("3"), job("4"), job("5", None)
    for folder in (won, failed, deleted, busy, live):
        fill(folder)
    store.delete_model(f"ft:tiny:local::{'3' * 12}", "default")
    (deleted / "models" / "3").mkdir()  # a kill left it
    with folders.hold(busy / "turn"):
        tidy(store)
    assert [left(folder) for folder in (won, failed, deleted)] == [{"models"}, set(), {"deleted"}]
    assert (won / "models" / "3" / "weights").exists()
    for folder in (busy, live):
        assert {"checkpoint-2", "checkpoint-3", "train.jsonl"} <= left(folder)


def test_files_that_expired_and_halves_of_deleted_ones_go(
    store: Store, file: Callable[[str, float | None], File]
) -> None:
    kept, expired, half = (store.content(file(name, at)).parent for name, at in (("a", None), ("b", 2.0), ("c", None)))
    (half / "file.json").unlink()
    damaged = store.content(file("d", time.time() + 99)).parent
    (damaged / "file.json").write_text("[torn")
    strange = kept.with_name("lost+found")
    strange.mkdir()
    tidy(store)
    assert [path.exists() for path in (kept, damaged, strange, expired, half)] == [True, True, True, False, False]


@pytest.mark.parametrize(("age", "stays"), [(3700.0, True), (7300.0, False)])
def test_uploads_that_were_not_completed_go_with_their_parts(store: Store, age: float, stays: bool) -> None:
    made = Upload(
        id="upload-" + "a" * 24,
        project="p",
        created_at=time.time() - age,
        filename="a.jsonl",
        purpose="fine-tune",
        size=1,
        expires_after=None,
    )
    folder = store.upload_folder(made.id)
    folder.mkdir()
    dump(made, folder, "upload.json")
    (folder / ("part-" + "b" * 24)).write_text("x")
    tidy(store)
    assert folder.exists() is stays


def test_links_to_models_that_are_gone_go(store: Store, tmp_path: Path) -> None:
    links = tmp_path / "adapters"
    links.mkdir()
    (links / "gone").symlink_to(tmp_path / "gone")
    (links / "here").symlink_to(tmp_path)
    tidy(store)
    assert [path.name for path in links.iterdir()] == ["here"]


def test_a_death_while_the_disk_is_full_is_not_the_jobs(store: Store, job: Make) -> None:
    folder = job("1", None)
    full = store.config.model_copy(update={"min_free_bytes": 2**62})
    for _ in range(work.MOST_DEATHS):
        work.judge(full, folder, 1)
    assert not (folder / "result.json").exists()
    assert "waits until there is room" in str(list(folders.lines(folder / "server.jsonl"))[-1]["message"])
    (folder / "child.log").write_text("why")
    for _ in range(work.MOST_DEATHS):
        work.judge(store.config, folder, 1)
    assert json.loads((folder / "result.json").read_text())["error"]["code"] == "training_process_died"
