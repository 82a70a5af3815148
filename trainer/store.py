"""Store: the data directory, and an index of it in memory. Every method blocks on the disk: call it on a thread."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from trainer import folders
from trainer.bases import Base, load_bases
from trainer.records import Checkpoint, File, Job, Owned, Result, Upload, dump
from trainer.settings import Config
from wire.blob import Blob
from wire.dataset import examine
from wire.problems import Problem, check_action, no_such_file, no_such_job, no_such_model

Kind = TypeVar("Kind", bound=Owned)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class Store:
    """One trainer's data. Raises OSError and ValueError for a directory or a list of bases that cannot be used."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bases: dict[str, Base] = load_bases(config.models)
        self.jobs: dict[str, Job] = {}
        self._results: dict[str, Result] = {}
        self._lock = contextlib.ExitStack()
        root = config.data_dir
        for name in ("jobs", "files", "uploads", "incoming"):
            (root / name).mkdir(parents=True, exist_ok=True)
        if not self._lock.enter_context(folders.hold(root / "api.lock")):
            raise BlockingIOError(f"{root} is in use by another trainer")
        for aside in [*root.glob(f"*/{folders.ASIDE}*"), *root.glob("incoming/*")]:
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
        found = [self._read(Job, path / "job.json") for path in (root / "jobs").iterdir()]
        for job in sorted(filter(None, found), key=lambda job: job.created_at):
            self.jobs[job.id] = job
        self._deleted = {job.id for job in self.jobs.values() if (self.folder(job) / "deleted").exists()}

    def close(self) -> None:
        self._lock.close()

    def check_room(self) -> None:
        """Raises Problem 429 while the disk is nearly full: nothing may be written torn."""
        free = folders.free_bytes(self.config.data_dir)
        if free < self.config.min_free_bytes:
            words = f"The trainer's disk is nearly full: {free} bytes are free. Make room, and try again."
            raise Problem(429, words, "disk_full", None, "insufficient_storage", {"Retry-After": "600"})

    # ---- jobs

    def folder(self, job: Job) -> Path:
        return self.config.data_dir / "jobs" / job.id

    def job(self, job_id: str, project: str) -> Job:
        """Raises Problem 404."""
        job = self.jobs.get(job_id)
        if job is None or job.project != project:
            raise no_such_job(job_id)
        return job

    def jobs_of(self, project: str) -> list[Job]:
        """Returns the jobs of a project, newest first."""
        return [job for job in reversed(list(self.jobs.values())) if job.project == project]

    def add(self, job: Job, training: File, validation: File | None, refused: folders.Row | None) -> Job:
        """Makes a job's folder, and returns it. One that is there already under this id is returned as it is.

        `refused`: the end of a job whose files cannot be trained on."""

        def fill(folder: Path) -> None:
            dump(job, folder, "job.json")
            os.link(self.content(training), folder / "train.jsonl")
            if validation is not None:
                os.link(self.content(validation), folder / "valid.jsonl")
            if refused is not None:
                folders.finish(folder, refused)

        made = folders.make(self.folder(job), fill)
        if made:
            self.jobs[job.id] = job
            return job
        found = Job.model_validate_json((self.folder(job) / "job.json").read_bytes())
        return self.jobs.setdefault(job.id, found)

    def result(self, job: Job) -> Result | None:
        """Returns how a job ended; None while it has not."""
        path = self.folder(job) / "result.json"
        if job.id not in self._results:
            try:
                found = folders.read(path)
                if found is None:
                    return None
                ended = Result.model_validate({"finished_at": path.stat().st_mtime, **found})
            except (ValueError, TypeError) as error:  # one damaged job is no other's trouble
                damaged = folders.failed("result_damaged", f"The job's result.json cannot be read: {error}")
                ended = Result.model_validate({"finished_at": path.stat().st_mtime, **damaged})
            self._results[job.id] = ended
        return self._results[job.id]

    def status(self, job: Job) -> str:
        ended = self.result(job)
        if ended is not None:
            return ended.status
        taken = folders.is_taken(self.folder(job))
        if folders.control(self.folder(job)) == "pause":
            return "pausing" if taken else "paused"
        return "running" if taken else "queued"

    def act(self, job: Job, action: str) -> None:
        """Cancels, pauses or resumes. Raises Problem 400 where the job's status does not allow it."""
        folder = self.folder(job)
        check_action(action, job.id, self.status(job))
        if action == "resume":
            (folder / "control").unlink(missing_ok=True)
            return
        if action == "cancel" and not folders.finish(folder, {"status": "cancelled"}):
            check_action(action, job.id, self.status(job))  # it ended while it was asked
        folders.write(folder / "control", action)
        if action == "pause":
            folders.tell(folder, "Fine-tuning job paused")

    # ---- files

    def incoming(self) -> Blob:
        return Blob(self.config.data_dir / "incoming")

    def content(self, file: File) -> Path:
        return self.config.data_dir / "files" / file.id / "content"

    def add_file(self, file: File, content: Path) -> File:
        """Makes a file of arrived bytes, and returns it with what was found in it."""
        with content.open("rb") as lines:
            found = file.model_copy(update={"dataset": examine(lines) if file.purpose == "fine-tune" else None})

        def fill(folder: Path) -> None:
            dump(found, folder, "file.json")
            content.rename(folder / "content")

        made = folders.make(self.config.data_dir / "files" / file.id, fill)
        return found if made else self.file(file.id, file.project)  # the same upload was completed twice

    def file(self, file_id: str, project: str) -> File:
        """Raises Problem 404."""
        found = self._read(File, self.config.data_dir / "files" / file_id / "file.json")
        if found is None or found.project != project or found.is_expired(time.time()):
            raise no_such_file(file_id)
        return found

    def files_of(self, project: str) -> list[File]:
        """Returns the files of a project, oldest first."""
        rows = (self._read(File, path / "file.json") for path in (self.config.data_dir / "files").iterdir())
        now = time.time()
        found = [file for file in rows if file is not None and file.project == project and not file.is_expired(now)]
        return sorted(found, key=lambda file: (file.created_at, file.id))

    def delete_file(self, file: File) -> None:
        """Removes it. Jobs keep the bytes by a link of their own."""
        folder = self.content(file).parent
        (folder / "file.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def job_of_result(self, file_id: str, project: str) -> tuple[Job, Result] | None:
        """Returns the job that succeeded and has this result file, and how it ended."""
        job = self.jobs.get(file_id.replace("file-", "ftjob-"))
        ended = self.result(job) if job is not None and job.project == project else None
        return (job, ended) if job is not None and ended is not None and ended.won else None

    # ---- uploads

    def upload_folder(self, upload_id: str) -> Path:
        return self.config.data_dir / "uploads" / upload_id

    def upload(self, upload_id: str, project: str) -> Upload | None:
        found = self._read(Upload, self.upload_folder(upload_id) / "upload.json")
        return found if found is not None and found.project == project else None

    def _read(self, kind: type[Kind], path: Path) -> Kind | None:
        """Returns a record; None: there is none. The name of its folder may come from a stranger."""
        if not _NAME.fullmatch(path.parent.name) or path.parent.parent.parent != self.config.data_dir:
            return None
        try:
            return kind.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    # ---- models

    def is_kept(self, job: Job) -> bool:
        """Returns whether a job has a tuned model that was not deleted."""
        ended = self.result(job)
        return ended is not None and ended.won and job.id not in self._deleted

    def models(self) -> Iterator[tuple[str, Job, Path, float]]:
        """Yields each tuned model that is kept: its name, its job, the folder of its weights, and when it was made."""
        for job in list(self.jobs.values()):
            ended = self.result(job)
            if ended is None or not self.is_kept(job):
                continue
            yield job.tuned_model, job, ended.model_folder, ended.finished_at
            for name, checkpoint in checkpoints(job, ended)[:-1]:
                yield name, job, checkpoint.folder, ended.finished_at

    def delete_model(self, name: str, project: str) -> None:
        """Removes the weights of a tuned model and of its checkpoints. Raises Problem 404.

        Its job stays, so its name is never used again."""
        found = [(job, path) for _, job, path, _ in self.models() if job.tuned_model == name and job.project == project]
        if not found:
            raise no_such_model(name)
        job = found[0][0]
        folders.write(self.folder(job) / "deleted", "")
        self._deleted.add(job.id)
        for _, path in found:
            if path.resolve().is_relative_to(self.folder(job).resolve()):
                shutil.rmtree(path, ignore_errors=True)


def checkpoints(job: Job, ended: Result) -> list[tuple[str, Checkpoint]]:
    """Returns the checkpoints of a job that succeeded, each with its model's name; the last is the model itself."""
    found = sorted(ended.checkpoints, key=lambda row: row.step_number)
    names = [f"{job.tuned_model}:ckpt-step-{row.step_number}" for row in found[:-1]] + [job.tuned_model]
    return list(zip(names, found, strict=False))
