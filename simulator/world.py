"""What exists at one simulated upstream: files, uploads, jobs and the models that came of them."""

import base64
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict, Field

from simulator import telling, training
from simulator.clock import Clock
from simulator.examples import Dataset
from simulator.problems import too_many_jobs
from simulator.settings import Config
from simulator.training import Mark, Spec
from wire import shapes
from wire.blob import Blob
from wire.problems import bad, no_such_file, no_such_job

# What adding and subtracting loses at 1.8e9 seconds, generously. What `settle` takes for over must be over for
# `elapsed` too, or a job would be settled while its status says running.
_ROUNDING = 1e-6


class File(shapes.File):
    """`created_at`, `ready` (when it stops being processed) and `expires_at` are clock seconds."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    ready: float
    blob: Blob
    dataset: Dataset | None = None
    trouble: str | None = None

    def exists(self, now: float) -> bool:
        return self.created_at <= now and not self.is_expired(now)

    def shown_at(self, now: float) -> shapes.Row:
        return self.shown(trouble=self.trouble, ready=now >= self.ready)


class Upload(shapes.Upload):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    ended: str = ""  # completed or cancelled
    parts: dict[str, Blob] = Field(default_factory=dict)
    file: File | None = None

    def status(self, now: float) -> str:
        return self.ended or self.unended(now)

    def shown_at(self, now: float) -> shapes.Row:
        return self.shown(self.status(now), self.file.shown_at(now) if self.file else None)


@dataclass
class Job:
    """`created` may lie ahead: then the job is not there yet. `listed`: when lists show it."""

    spec: Spec
    created: float
    request: dict[str, object]
    seed: int
    dataset: Dataset
    listed: float = 0.0
    model_delay: float = 0.0
    marks: tuple[Mark, ...] = ()

    @property
    def id(self) -> str:
        return self.spec.job_id

    @property
    def metadata(self) -> dict[str, str]:
        found = self.request.get("metadata")
        return found if isinstance(found, dict) else {}


class World:
    """Records in memory. Nothing happens by itself: `settle` does what came due by the clock."""

    def __init__(self, config: Config, clock: Clock, *, azure: bool) -> None:
        self.config = config
        self.clock = clock
        self.azure = azure
        self.folder = Path()  # of the bytes, while the server runs
        self.files: dict[str, File] = {}
        self.uploads: dict[str, Upload] = {}
        self.jobs: dict[str, Job] = {}
        self.models: dict[str, Job] = {}
        self.on_end: list[Callable[[Job], None]] = []
        self.on_change: list[Callable[[], None]] = []
        self._open: dict[str, Job] = {}
        self._ends: list[tuple[float, str]] = []

    # Time

    def elapsed(self, job: Job) -> float:
        """Seconds of training since the job's creation."""
        return self._since(job, slack=2 * _ROUNDING)

    def _since(self, job: Job, *, slack: float) -> float:
        return (self.clock.now() - job.created + slack) * self.config.speed

    def when(self, job: Job, offset: float) -> float:
        """The clock's time of something `offset` seconds of training into the job."""
        return job.created + offset / self.config.speed

    def status(self, job: Job) -> str:
        return training.status(job.spec, self.elapsed(job), job.marks)

    def next_end(self) -> float:
        """Clock time at which `settle` will have something to do; may be early, never late."""
        return self._ends[0][0] if self._ends else math.inf

    def settle(self) -> None:
        """Bring into being what ended jobs leave behind: model, result file, webhook."""
        now = self.clock.now() + _ROUNDING
        while self._ends and self._ends[0][0] <= now:
            job = self._open.get(heapq.heappop(self._ends)[1])
            if job is None:
                continue
            ends = self.when(job, training.ends_at(job.spec, job.marks))
            if ends > now:  # it was paused, or its turn came later
                continue
            del self._open[job.id]
            if self.status(job) == "succeeded":
                self._leave_result(job, ends)
                self.models[job.spec.tuned_model] = job
                for step in telling.checkpoint_steps(job.spec):
                    self.models[telling.checkpoint_model(job.spec, step)] = job
            for tell in self.on_end:
                tell(job)

    def _leave_result(self, job: Job, ended: float) -> None:
        blob, name = self.incoming(), job.spec.result_file
        blob.write(base64.b64encode(telling.result_csv(job.spec).encode()))  # recorded: it comes encoded
        self.files[name] = File(
            id=name,
            filename="step_metrics.csv",
            purpose="fine-tune-results",
            size=blob.size,
            created_at=ended,
            ready=ended,
            blob=blob,
            expires_at=None,
        )

    # Jobs

    def add_job(self, job: Job) -> None:
        limit = self.config.azure_running + self.config.azure_queued if self.azure else self.config.slots
        self.settle()
        if limit and len(self._open) >= limit:
            raise too_many_jobs(limit)
        self.jobs[job.id] = self._open[job.id] = job
        self._plan(job)

    def mark(self, job: Job, action: str) -> None:
        job.marks = (*job.marks, Mark(self._since(job, slack=0.0), action))
        self._plan(job)

    def _plan(self, changed: Job) -> None:
        """Azure runs a few at a time, so one job's change moves the others' turns; then note when they end."""
        if self.azure:
            self._queue()
        for job in self._open.values() if self.azure else (changed,):
            end = self.when(job, training.ends_at(job.spec, job.marks))
            if end < math.inf:
                heapq.heappush(self._ends, (end, job.id))
        for heed in self.on_change:
            heed()

    def _queue(self) -> None:
        """Gives free places in the order of arrival. Places that were taken stay taken."""
        free = [0.0] * self.config.azure_running
        for job in sorted(self.jobs.values(), key=lambda job: job.created):
            plain = replace(job.spec, queue_delay=0.0)
            ready = self.when(job, training.schedule(plain).started)
            start = max(ready, free[0])
            if ready < math.inf:
                delay = training.FOREVER if start == math.inf else (start - ready) * self.config.speed
                job.spec = replace(plain, queue_delay=delay)
            end = self.when(job, training.ends_at(job.spec, job.marks))
            if end > start:
                heapq.heapreplace(free, end)

    def job(self, job_id: str) -> Job:
        self.settle()
        job = self.jobs.get(job_id)
        if job is None or job.created > self.clock.now():
            raise no_such_job(job_id)
        return job

    def landed(self) -> list[Job]:
        """Every job that exists by now, newest first."""
        self.settle()
        now = self.clock.now()
        found = [job for job in self.jobs.values() if job.created <= now]
        return sorted(found, key=lambda job: job.created)[::-1]

    def model(self, name: str) -> Job | None:
        """The job behind a tuned model that answers by now."""
        self.settle()
        job = self.models.get(name)
        if job is None:
            return None
        ended = self.when(job, training.ends_at(job.spec, job.marks))
        return job if self.clock.now() >= ended + job.model_delay else None

    # Files

    def incoming(self) -> Blob:
        return Blob(self.folder)

    def file(self, file_id: str) -> File:
        found = self.files.get(file_id)
        if found is None or not found.exists(self.clock.now()):
            raise no_such_file(file_id)
        return found

    def check_ready(self, file: File, param: str) -> None:
        if file.ready > self.clock.now():
            words = f"File '{file.id}' is still being processed and is not ready to be used for fine-tuning."
            raise bad(f"{words} Please try again later.", param=param)
