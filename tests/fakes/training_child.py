"""Stands in for `python -m trainer.tune`: keeps the job's folder as that does, and trains nothing.

The job's `metadata.fake` tells it to misbehave: `slow` (0.2 s a step), `die` (at step 3, always), `die_once`, `memory`,
`fail`. Each step is a whole checkpoint unless `metadata.checkpoints` is `none`.
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from trainer.work import end_with_parent

OUT_OF_MEMORY = 75


def main(folder: Path) -> int:
    end_with_parent()
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        (folder / "child.pid").write_text(str(os.getpid()))
        return train(folder, json.loads((folder / "job.json").read_text()))


def train(folder: Path, job: dict[str, Any]) -> int:
    numbers, asked = job["hyperparameters"], job["request"].get("metadata") or {}
    fake = asked.get("fake", "")
    total = numbers["n_epochs"] * max(1, -(-job["examples"] // numbers["batch_size"]))
    told = [json.loads(line)["data"]["step"] for line in _lines(folder / "events.jsonl")]
    sys.stdout.write(f"training {job['id']} from {newest(folder)}\n")
    if fake == "memory":
        return OUT_OF_MEMORY
    if fake == "fail":
        return end(folder, {"status": "failed", "error": {"code": "bad_rows", "message": "Row 1.", "param": None}})
    for step in range(newest(folder) + 1, total + 1):
        if (word := control(folder)) == "cancel":
            return 0
        if word == "pause":
            checkpoint(folder, step - 1)
            return 0
        time.sleep(0.2 if fake == "slow" else 0.01)
        first = not (folder / "died").exists()
        if step == 3 and (fake == "die" or (fake == "die_once" and first)):
            (folder / "died").touch()
            sys.stdout.write("the ghost gives up\n")
            return 9
        if step > max(told, default=0):
            tell(folder, step, total)
        if asked.get("checkpoints") != "none":
            checkpoint(folder, step)
    rows = []
    for step in (total - 1, total):
        model = folder / "models" / str(step)
        model.mkdir(parents=True, exist_ok=True)
        (model / "weights").write_text(f"{job['seed']} {step}")
        rows.append({"step_number": step, "folder": str(model), "metrics": {"step": step, "train_loss": 0.5}})
    won = {"status": "succeeded", "trained_tokens": 10 * total, "model_folder": rows[-1]["folder"]}
    return end(folder, {**won, "checkpoints": rows})


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def control(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "control").read_text().strip()
    return ""


def newest(folder: Path) -> int:
    return max((int(path.parent.name[11:]) for path in folder.glob("checkpoint-*/trainer_state.json")), default=0)


def checkpoint(folder: Path, step: int) -> None:
    if step:
        place = folder / f"checkpoint-{step}"
        place.mkdir(exist_ok=True)
        (place / "trainer_state.json").write_text("{}")


def tell(folder: Path, step: int, total: int) -> None:
    data = {"step": step, "total_steps": total, "train_loss": 1 / step, "train_mean_token_accuracy": 0.5}
    row = {
        "created_at": time.time(),
        "level": "info",
        "message": f"Step {step}/{total}",
        "type": "metrics",
        "data": data,
    }
    with (folder / "events.jsonl").open("a") as log:
        log.write(json.dumps({**row, "data": data}) + "\n")


def end(folder: Path, result: dict[str, object]) -> int:
    aside = folder / "result.aside"
    aside.write_text(json.dumps(result))
    with contextlib.suppress(FileExistsError):
        os.link(aside, folder / "result.json")
    aside.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
