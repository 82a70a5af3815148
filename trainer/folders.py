"""Folders: how a job, a file, an upload lies on disk, so that a kill at any moment leaves all of it or none.

A folder is made aside and renamed. Of a job's, `job.json` never changes, and the rest is:
turn           locked by the worker process that has the job's turn
turns          how many turns were asked for
lock           locked by the training process for its life
control        "cancel" or "pause", read by the training process between steps
events.jsonl   what the training process tells; server.jsonl: what worker and API tell
result.json    the end; the first one to link it decides
child.log      what the training process prints
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ASIDE = ".new-"
_EVENT: Row = {"created_at": 0.0, "level": "info", "message": "", "type": "message", "data": {}}


def make(final: Path, fill: Callable[[Path], None]) -> bool:
    """Makes a folder that `fill` fills, and returns whether it was not there before. It is on disk then."""
    aside = final.parent / f"{ASIDE}{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        fill(aside)
        for path in [*aside.iterdir(), aside]:
            sync(path)
        try:
            aside.rename(final)  # a folder that is not empty is not replaced
        except OSError:
            if not final.is_dir():
                raise
            return False
        sync(final.parent)
        return True
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, text: str) -> None:
    """Writes a small file whole or not at all."""
    aside = _aside(path, text)
    aside.rename(path)
    sync(path.parent)


def _aside(path: Path, text: str) -> Path:
    aside = path.parent / f"{ASIDE}{uuid.uuid4().hex}"
    aside.write_text(text, "utf-8")
    sync(aside)
    return aside


def read(path: Path) -> Row | None:
    """Returns the JSON object in a file; None if there is no such file."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise TypeError(f"{path} holds no object")
    return found


def failed(code: str, message: str, param: str | None = None) -> Row:
    return {"status": "failed", "error": {"code": code, "message": message, "param": param}}


def finish(job: Path, result: Row) -> bool:
    """Writes the job's end, unless it has one. Returns whether this is its end."""
    aside = _aside(job / "result.json", json.dumps({**result, "finished_at": time.time()}))
    try:
        os.link(aside, job / "result.json")
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    sync(job)
    return True


def control(job: Path) -> str:
    """Returns "cancel", "pause" or ""."""
    with contextlib.suppress(FileNotFoundError):
        return (job / "control").read_text("utf-8").strip()
    return ""


def tell(
    job: Path, message: str, *, level: str = "info", kind: str = "message", data: Row | None = None, by: str = "server"
) -> None:
    """Appends an event to a job's log, "server" or "events". A lost line costs an event, so it is not synced."""
    row = {"created_at": time.time(), "level": level, "message": message, "type": kind, "data": data or {}}
    with (job / f"{by}.jsonl").open("ab", buffering=0) as log:
        log.write(json.dumps(row).encode() + b"\n")


def lines(path: Path) -> Iterator[Row]:
    """Returns the events of a log, without torn lines."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as log:
        for line in log:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield _EVENT | row


@contextlib.contextmanager
def hold(path: Path, *, seconds: float = 0.0) -> Iterator[bool]:
    """Locks a file while the block runs; yields whether it was free within seconds. The lock goes with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + seconds
    try:
        while not (ours := _lock(descriptor, fcntl.LOCK_EX)) and time.monotonic() < until:
            time.sleep(0.05)
        yield ours
    finally:
        os.close(descriptor)


def is_taken(job: Path) -> bool:
    """Returns whether a worker or a training process has the job now."""
    return is_held(job / "turn") or is_held(job / "lock")


def is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def whole_checkpoints(job: Path) -> dict[int, Path]:
    """Returns step → checkpoint of those that were written to their end: `trainer_state.json` comes last."""
    found = {}
    for state in job.glob("checkpoint-*/trainer_state.json"):
        with contextlib.suppress(ValueError, OSError):
            json.loads(state.read_text("utf-8"))
            if all(path.stat().st_size for path in state.parent.iterdir()):
                found[step_of(state.parent)] = state.parent
    return found


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
