"""A job's whole life as a function of what it is and how long ago it was created.  (pure)

Times are seconds of training since the job's creation, as in life (7 to 48 minutes were recorded for
10 examples to 400,000 tokens); a faster simulator scales them. Marks are what people did to the job meanwhile.
No randomness: the same Spec lives the same life."""

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

from wire import dataset

FOREVER = math.inf
PAUSING = 5.0
RESUMING = 5.0


class Failure(NamedTuple):
    """What `job.error` says; `param` may be null."""

    code: str
    message: str
    param: str | None


class Mark(NamedTuple):
    """`action` is pause, resume or cancel; `at` in seconds of training."""

    at: float
    action: str


Marks = tuple[Mark, ...]


def base_model(model: str) -> str:
    return model.removeprefix("ft:").split(":")[0].split(".ft-")[0]


@dataclass(frozen=True)
class Spec:
    """All that decides how a job lives. `asked` are the hyperparameters as sent, the rest being "auto"."""

    job_id: str
    model: str
    training_file: str
    validation_file: str | None = None
    method: str = "supervised"
    examples: int = 10
    tokens: int = 2_500  # of one epoch
    asked: tuple[tuple[str, object], ...] = ()
    suffix: str | None = None
    organization: str = "org-simulated"
    azure: bool = False
    refusal: Failure | None = None  # ends validation
    crash: Failure | None = None  # ends training half way
    stall: str | None = None  # the status that it never leaves
    pauses_itself: bool = False
    queue_delay: float = 0.0  # waiting for other jobs
    long_wait: float = 0.0  # waiting for nothing in particular: 12 hours were seen

    def token(self, purpose: str, length: int = 24) -> str:
        """A stable identifier of this job's, so that the same life has the same names."""
        return hashlib.sha256(f"{self.job_id}/{purpose}".encode()).hexdigest()[:length]

    @property
    def base_model(self) -> str:
        """The untuned model, also when a tuned one is tuned further."""
        return base_model(self.model)

    @property
    def tuned_model(self) -> str:
        if self.azure:
            return f"{self.base_model}.ft-{self.token('model', 32)}" + (f"-{self.suffix}" if self.suffix else "")
        return f"ft:{self.base_model}:{self.organization}:{self.suffix or ''}:{self.token('model', 8)}"

    @property
    def result_file(self) -> str:
        return f"file-{self.token('result')}"


class Schedule(NamedTuple):
    """When each phase begins; `ended` is the end of whatever kind."""

    resolved: float
    validated: float
    started: float
    ended: float


def hyperparameters(spec: Spec) -> dict[str, object]:
    """What "auto" becomes once the files were looked at."""
    return dataset.hyperparameters(spec.method, dict(spec.asked), spec.examples, 1.8)


def count(spec: Spec, name: str) -> int:
    return int(str(hyperparameters(spec)[name]))


def steps_per_epoch(spec: Spec) -> int:
    return max(1, math.ceil(spec.examples / count(spec, "batch_size")))


def total_steps(spec: Spec) -> int:
    return steps_per_epoch(spec) * count(spec, "n_epochs")


def trained_tokens(spec: Spec) -> int:
    return spec.tokens * count(spec, "n_epochs")


def training_seconds(spec: Spec) -> float:
    """How long the running takes: 41 minutes more for 400,000 tokens, up to eight hours."""
    return 330 + min(8 * 3600, trained_tokens(spec) / 400_000 * 41 * 60)


def schedule(spec: Spec) -> Schedule:
    validated = 60 + min(240, spec.examples * 0.002)
    started = validated + 45 + spec.long_wait + spec.queue_delay
    ended = started + training_seconds(spec) * (0.5 if spec.crash else 1)
    if spec.stall == "validating_files":
        validated = started = ended = FOREVER
    elif spec.refusal:
        return Schedule(30, validated, FOREVER, validated)
    elif spec.stall == "queued":
        started = ended = FOREVER
    elif spec.stall == "running":
        ended = FOREVER
    return Schedule(30, validated, started, ended)


def pauses(spec: Spec, marks: Marks) -> list[tuple[float, float]]:
    """Intervals in which the job stood still, (from, to); to is FOREVER while it still does."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for mark in marks:
        if mark.action == "pause" and since is None:
            since = mark.at
        elif mark.action == "resume" and since is not None:
            found.append((since, mark.at))
            since = None
    if since is not None:
        found.append((since, FOREVER))
    if spec.pauses_itself and not found:
        began = schedule(spec).started + 100
        found.append((began, began + 600))
    return found


def cancelled_at(marks: Marks) -> float:
    return min((mark.at for mark in marks if mark.action == "cancel"), default=FOREVER)


def moment(spec: Spec, offset: float, marks: Marks = ()) -> float:
    """When something planned for `offset` really happens, pauses counted."""
    for begun, over in pauses(spec, marks):
        if offset > begun:
            offset += over - begun
    return offset


def ends_at(spec: Spec, marks: Marks = ()) -> float:
    """When the job ends, in whatever way; FOREVER if nothing will end it."""
    return min(cancelled_at(marks), moment(spec, schedule(spec).ended, marks))


def status(spec: Spec, elapsed: float, marks: Marks = ()) -> str:
    """One of the documented statuses, or created, pending, pausing, paused, resuming."""
    plan = schedule(spec)
    if elapsed >= ends_at(spec, marks):
        if cancelled_at(marks) <= elapsed:
            return "cancelled"
        return "failed" if spec.refusal or spec.crash else "succeeded"
    for begun, over in pauses(spec, marks):
        if begun <= elapsed < over:
            return "pausing" if elapsed < begun + PAUSING else "paused"
        if over <= elapsed < over + RESUMING:
            return "resuming"
    if elapsed >= moment(spec, plan.started, marks):
        return "running"
    if elapsed >= moment(spec, plan.validated, marks):
        return "queued"
    if spec.azure:
        return "created" if elapsed < plan.resolved else "pending"
    return "validating_files"
