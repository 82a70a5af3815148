"""A job's whole life as a function of what it is and how long ago it was created.  (pure)

Times are seconds of training since the job's creation, as in life (7 to 48 minutes were recorded for
10 examples to 400,000 tokens); whoever runs faster scales them. Marks are what people did to the job meanwhile.
No randomness: the same Spec lives the same life."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

FOREVER = math.inf
_PAUSING = 5.0
_RESUMING = 5.0


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


@dataclass(frozen=True)
class Spec:
    """All that decides how a job lives. `asked` are the hyperparameters as sent, the rest being "auto"."""

    job_id: str
    model: str
    training_file: str
    validation_file: str | None = None
    method: str = "supervised"
    examples: int = 10
    chars: int = 10_000
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
    def tuned_model(self) -> str:
        if self.azure:
            return f"{self.model}.ft-{self.token('model', 32)}" + (f"-{self.suffix}" if self.suffix else "")
        return f"ft:{self.model}:{self.organization}:{self.suffix or ''}:{self.token('model', 8)}"

    @property
    def result_file(self) -> str:
        return f"file-{self.token('result')}"


class Schedule(NamedTuple):
    """When each phase begins; `ended` is the end of whatever kind."""

    resolved: float
    validated: float
    started: float
    ended: float


def default_epochs(examples: int) -> int:
    """OpenAI's rule: 3; small sets get more (at most 25), very large ones fewer."""
    if 3 * examples < 100:
        return min(25, 100 // max(1, examples))
    if 3 * examples > 25_000:
        return max(1, 25_000 // examples)
    return 3


def hyperparameters(spec: Spec) -> dict[str, object]:
    """What "auto" becomes once the files were looked at."""
    found: dict[str, object] = {
        "n_epochs": default_epochs(spec.examples),
        "batch_size": max(1, min(256, round(spec.examples * 0.002))),
        "learning_rate_multiplier": 1.8,
    }
    if spec.method == "dpo":
        found["beta"] = 0.1
    if spec.method == "reinforcement":
        found |= {"compute_multiplier": 1.0, "eval_interval": 5, "eval_samples": 4, "reasoning_effort": "medium"}
    return found | {name: value for name, value in spec.asked if value not in ("auto", "default")}


def _count(spec: Spec, name: str) -> int:
    return int(str(hyperparameters(spec)[name]))


def steps_per_epoch(spec: Spec) -> int:
    return max(1, math.ceil(spec.examples / _count(spec, "batch_size")))


def total_steps(spec: Spec) -> int:
    return steps_per_epoch(spec) * _count(spec, "n_epochs")


def trained_tokens(spec: Spec) -> int:
    return spec.chars // 4 * _count(spec, "n_epochs")


def schedule(spec: Spec) -> Schedule:
    validated = 60 + min(240, spec.examples * 0.002)
    started = validated + 45 + spec.long_wait + spec.queue_delay
    # 41 more minutes for 400,000 tokens, up to eight hours.
    training = 330 + min(8 * 3600, trained_tokens(spec) / 400_000 * 41 * 60)
    ended = started + (training / 2 if spec.crash else training)
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
            return "pausing" if elapsed < begun + _PAUSING else "paused"
        if over <= elapsed < over + _RESUMING:
            return "resuming"
    if elapsed >= moment(spec, plan.started, marks):
        return "running"
    if elapsed >= moment(spec, plan.validated, marks):
        return "queued"
    if spec.azure:
        return "created" if elapsed < plan.resolved else "pending"
    return "validating_files"


class Metrics(NamedTuple):
    """What one step measured; the valid_* are null without a validation file."""

    step: int
    train_loss: float
    train_accuracy: float
    valid_loss: float | None
    valid_accuracy: float | None


def measured(spec: Spec, step: int) -> Metrics:
    """Losses fall with every step, down to 6e-05 for those who train for ten epochs and more."""
    done = step / total_steps(spec)
    floor = 6e-05 if _count(spec, "n_epochs") >= 10 else 0.35
    height = 2.0 + int(spec.token("height", 2), 16) / 255  # 2.0 to 3.0, by the job's own name
    loss = round(floor + height * (1 - done) / (1 + 4 * done), 6)
    accuracy = round(0.99 - 0.5 * (1 - done) / (1 + 4 * done), 6)
    if spec.validation_file is None:
        return Metrics(step, loss, accuracy, None, None)
    return Metrics(step, loss, accuracy, round(loss * 1.1 + 0.05, 6), round(accuracy * 0.97, 6))


class Told(NamedTuple):
    """An event before it has an id: `at` is planned time, pauses not counted."""

    at: float
    level: str
    type: str
    message: str
    data: dict[str, object] | None


def _plain(at: float, message: str, level: str = "info") -> Told:
    return Told(at, level, "message", message, {})


@lru_cache(maxsize=2048)
def story(spec: Spec) -> tuple[Told, ...]:
    """Everything the job will tell if nobody interferes, oldest first."""
    plan = schedule(spec)
    told = _azure_opening(spec, plan) if spec.azure else _opening(spec, plan)
    told += _steps(spec, plan)
    failure = spec.refusal or spec.crash
    if failure:
        told.append(_plain(plan.ended, failure.message, "error"))
    else:
        told += _azure_ending(spec, plan) if spec.azure else _ending(spec, plan)
    return tuple(event for event in told if event.at < FOREVER and (not failure or event.at <= plan.ended))


def _opening(spec: Spec, plan: Schedule) -> list[Told]:
    files = [spec.training_file] + ([spec.validation_file] if spec.validation_file else [])
    told = [
        _plain(0, f"Created fine-tuning job: {spec.job_id}"),
        _plain(0, f"Validating training file: {' and validation file: '.join(files)}"),
    ]
    if not spec.refusal:
        told.append(_plain(plan.validated, "Files validated, moving job to queued state"))
        told.append(_plain(plan.started, "Fine-tuning job started"))
    return told


def _azure_opening(spec: Spec, plan: Schedule) -> list[Told]:
    told = [_plain(0, "Job enqueued. Waiting for jobs ahead to complete."), _plain(30, "Preprocessing started.")]
    if not spec.refusal:
        told.append(_plain(plan.validated, "Preprocessing completed for file training file."))
        told.append(_plain(plan.started, "Job started."))
        told.append(_plain(plan.started, "Training started."))
    return told


def _steps(spec: Spec, plan: Schedule) -> list[Told]:
    if plan.started == FOREVER:
        return []
    total = total_steps(spec)
    # Long jobs tell every n-th step, so that nobody has to page through a hundred thousand events.
    stride = max(10 if spec.azure else 1, math.ceil(total / 500))
    whole = schedule_without_end(spec) - plan.started
    told = []
    for step in [*range(stride, total, stride), total]:
        found = measured(spec, step)
        data: dict[str, object] = {
            "step": step,
            "total_steps": total,
            "train_loss": found.train_loss,
            "train_mean_token_accuracy": found.train_accuracy,
        }
        words = f"Step {step}" + ("" if spec.azure else f"/{total}") + f": training loss={found.train_loss:.2f}"
        if found.valid_loss is not None:
            data |= {"valid_loss": found.valid_loss, "valid_mean_token_accuracy": found.valid_accuracy}
            words += f", validation loss={found.valid_loss:.2f}"
            if step % steps_per_epoch(spec) == 0:
                data |= {"full_valid_loss": found.valid_loss, "full_valid_mean_token_accuracy": found.valid_accuracy}
                words += f", full validation loss={found.valid_loss:.2f}"
        at = plan.started + 0.9 * whole * step / total
        if not (spec.stall == "running" and step > total / 2):
            told.append(Told(at, "info", "metrics", words, data))
    return told


def schedule_without_end(spec: Spec) -> float:
    """When training would end if it neither crashed nor stalled."""
    plan = schedule(spec)
    return plan.started + 330 + min(8 * 3600, trained_tokens(spec) / 400_000 * 41 * 60)


def _ending(spec: Spec, plan: Schedule) -> list[Told]:
    """The last words come up to 8 s after finished_at."""
    told = [_plain(plan.ended, f"Checkpoint created at step {at}") for at in checkpoint_steps(spec)[:-1]]
    told.append(_plain(plan.ended, f"New fine-tuned model created: {spec.tuned_model}"))
    verdict: dict[str, object] = {"blocked": False, "results": []}
    told.append(
        Told(plan.ended + 3, "info", "moderation_checks", "Moderation checks for the fine-tuned model passed.", verdict)
    )
    return [*told, Told(plan.ended + 8, "info", "message", "The job has successfully completed.", None)]


def _azure_ending(spec: Spec, plan: Schedule) -> list[Told]:
    return [
        _plain(plan.ended, "Training completed."),
        _plain(plan.ended, f"Created results file: {spec.result_file}"),
        *(_plain(plan.ended, f"Checkpoint created at step {at}") for at in checkpoint_steps(spec)[:-1]),
        _plain(plan.ended + 4, f"Postprocessing completed: {spec.tuned_model}"),
        _plain(plan.ended + 8, "Job succeeded."),
    ]


def events(spec: Spec, elapsed: float, marks: Marks = ()) -> list[Told]:
    """What was told so far, oldest first, `at` with pauses counted."""
    stop = cancelled_at(marks)
    told = [event._replace(at=moment(spec, event.at, marks)) for event in story(spec)]
    told = [event for event in told if event.at < stop]
    for begun, over in pauses(spec, marks):
        told.append(_plain(begun + _PAUSING, "Fine-tuning job paused"))
        told.append(_plain(over, "Fine-tuning job resumed"))
    if stop < FOREVER:
        told.append(_plain(stop, "Fine-tuning job cancelled" if not spec.azure else "Job cancelled."))
    return sorted((event for event in told if event.at <= elapsed), key=lambda event: event.at)


def checkpoint_steps(spec: Spec) -> list[int]:
    """The last three epochs' ends; the very last is the model itself."""
    epochs = _count(spec, "n_epochs")
    return [steps_per_epoch(spec) * epoch for epoch in range(max(1, epochs - 2), epochs + 1)]


def checkpoint_model(spec: Spec, step: int) -> str:
    return spec.tuned_model if step == total_steps(spec) else f"{spec.tuned_model}:ckpt-step-{step}"


def result_csv(spec: Spec) -> str:
    """The result file before base64; columns stay empty without validation."""
    rows = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    total = total_steps(spec)
    for step in range(1, total + 1):
        found = measured(spec, step)
        rows.append(",".join("" if value is None else str(value) for value in found))
    return "\n".join(rows) + "\n"
