"""Maintenance: removes what nothing can use any more. Each call blocks on the disk."""

import contextlib
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from trainer import folders
from trainer.records import Job
from trainer.store import Store
from wire.shapes import UPLOAD_SECONDS

_LOG = logging.getLogger(__name__)
#: Of a job that has ended: what it was trained on, and what was kept for going on.
_OF_TRAINING = ("checkpoint-*", "train.jsonl", "valid.jsonl", f"{folders.ASIDE}*", "models/.new")
_OURS = re.compile(r"(file|upload)-[0-9a-f]{24}")


def tidy(store: Store) -> None:
    """Removes the remains of jobs that have ended, expired or half-deleted files, uploads that are over, dead links."""
    for job in list(store.jobs.values()):
        with _alone(store.folder(job)):
            if store.result(job) is not None and not folders.is_taken(store.folder(job)):
                _tidy_job(store, job)
    data = store.config.data_dir
    for folder in [*(data / "files").iterdir(), *(data / "uploads").iterdir()]:
        with _alone(folder):
            if _OURS.fullmatch(folder.name) and _is_over(folder):
                _remove(folder)
    for link in (data / "adapters").glob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One damaged folder is no other's trouble."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        _LOG.warning("%s cannot be cleaned up: %r", folder, error)


def _tidy_job(store: Store, job: Job) -> None:
    folder = store.folder(job)
    for pattern in _OF_TRAINING if store.is_kept(job) else (*_OF_TRAINING, "models"):
        for path in folder.glob(pattern):
            _remove(path)


def _is_over(folder: Path) -> bool:
    """Returns whether a file has expired, an upload is long over, or a kill has left a half-deleted one."""
    record = folders.read(folder / f"{folder.name.partition('-')[0]}.json")
    if record is None:
        return True
    if folder.name.startswith("file"):
        expires = record["expires_at"]
    else:  # its parts may still be joined when it expires
        expires = float(str(record["created_at"])) + 2 * UPLOAD_SECONDS
    return expires is not None and time.time() >= float(str(expires))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
