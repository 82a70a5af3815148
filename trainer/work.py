"""One turn of a job, run by RQ: starts the training process, and decides what its end means.

A worker that is killed takes this process along, and this one the training process (PR_SET_PDEATHSIG). Nothing that RQ
knows is needed: the next turn reads the job's folder.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trainer import folders
from trainer.settings import Config, environment_of_child, from_environment

#: Exit status of a training process that had too little memory.
OUT_OF_MEMORY = 75
#: A job whose training process dies so often, each time without a new checkpoint, has failed.
MOST_DEATHS = 3
#: Bytes of its log that the error of a failed job shows.
TAIL_BYTES = 1500
#: Names the process id of the worker, which may have been killed before the process that it forked looks.
WORKER = "TUNEHOOK_TRAINER_WORKER"
_PR_SET_PDEATHSIG = 1
#: Loaded before a fork, after which little may be done.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with_parent(parent: int | None = None) -> None:
    """Lets this process be killed when its parent ends (Linux; elsewhere it is not)."""
    if _prctl is not None:
        parent = parent or os.getppid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os.kill(os.getpid(), signal.SIGKILL)


def ending_with_us() -> Callable[[], None]:
    """Returns what a child does between fork and exec, so that it never outlives this process."""
    return partial(end_with_parent, os.getpid())


def train(job_id: str) -> None:
    """Runs a job until it ends, is paused, or is found in the hands of another worker."""
    end_with_parent(int(os.environ.get(WORKER, "0")) or None)
    config = from_environment()
    job = config.data_dir / "jobs" / job_id
    with folders.hold(job / "turn") as ours:
        while ours and _is_wanted(config, job):
            _run(config, job)


def _is_wanted(config: Config, job: Path) -> bool:
    """Returns whether to (re)start the training process. A full disk leaves the job for a later turn."""
    if (job / "result.json").exists() or folders.control(job) or folders.is_held(job / "lock"):
        return False
    return _has_room(config)


def _has_room(config: Config) -> bool:
    return folders.free_bytes(config.data_dir) >= config.min_free_bytes


def _run(config: Config, job: Path) -> None:
    step = max(folders.whole_checkpoints(job), default=0)
    folders.tell(job, f"Fine-tuning job resumed from step {step}" if step else "Fine-tuning job started")
    began = time.monotonic()
    with (job / "child.log").open("ab") as log:
        child = subprocess.Popen(
            [*config.child, str(job)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment_of_child(config.slot),
            preexec_fn=ending_with_us(),  # noqa: PLW1509  (two system calls, on what was loaded before)
        )
        status = child.wait()
    data: folders.Row = {
        "seconds": round(time.monotonic() - began, 1),
        "device": device_of(config.slot),
        "exit": status,
    }
    folders.tell(job, f"The training process ended after {data['seconds']} s on {data['device']}", data=data)
    judge(config, job, status)
    time.sleep(0.2)


def judge(config: Config, job: Path, status: int) -> None:
    """Ends a job whose training process ended with this status, if that is its end; else the job goes on."""
    if (job / "result.json").exists() or folders.control(job):
        return
    if status == OUT_OF_MEMORY:
        words = "The GPU or the machine has too little memory for this job: try a smaller batch_size, or LoRA."
        folders.finish(job, folders.failed("out_of_memory", f"{words} Its log ends: {_tail(job)}"))
    elif status != 0 and _has_room(config):
        count_death(job, f"status {status}")
    elif status != 0:  # no death of the job's: it goes on once there is room
        folders.tell(job, "The disk is nearly full: the job waits until there is room", level="warn")


def device_of(slot: str) -> str:
    return "cpu" if slot.startswith("cpu") else f"{slot.count(',') + 1} GPU"


def count_death(job: Path, how: str) -> None:
    """Counts a death at this checkpoint, tells it, and ends a job that has died too often."""
    step = max(folders.whole_checkpoints(job), default=0)
    known = folders.read(job / "deaths.json") or {}
    deaths = int(known.get("deaths", 0)) + 1 if known.get("step") == step else 1
    folders.write(job / "deaths.json", f'{{"step": {step}, "deaths": {deaths}}}')
    if deaths < MOST_DEATHS:
        words = f"The training process died ({how}); it goes on from step {step}."
        folders.tell(job, words, level="warn")
        return
    words = f"The training process died {deaths} times at step {step} ({how}). Its log ends: {_tail(job)}"
    folders.finish(job, folders.failed("training_process_died", words))


def _tail(job: Path) -> str:
    with (job / "child.log").open("a+b") as log:  # it is made by the first training process
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - TAIL_BYTES))
        return log.read().decode("utf-8", "replace").strip() or "(it is empty)"
