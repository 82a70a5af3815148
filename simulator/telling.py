"""What a job tells about its life: events, losses, checkpoints, the result file.  (pure)

The texts, their order and their oddities are those that users recorded."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from simulator.training import (
    FOREVER,
    PAUSING,
    Marks,
    Schedule,
    Spec,
    cancelled_at,
    count,
    moment,
    pauses,
    schedule,
    steps_per_epoch,
    total_steps,
    training_seconds,
)


def measuring(spec: Spec) -> Callable[[int], dict[str, float]]:
    """What each step measures; valid_* with a validation file alone.

    Losses fall, down to 6e-05 for those who train for ten epochs and more."""
    total = total_steps(spec)
    floor = 6e-05 if count(spec, "n_epochs") >= 10 else 0.35
    height = 2.0 + int(spec.token("height", 2), 16) / 255  # 2.0 to 3.0, by the job's own name

    def measured(step: int) -> dict[str, float]:
        left = (1 - step / total) / (1 + 4 * step / total)
        loss, accuracy = round(floor + height * left, 6), round(0.99 - 0.5 * left, 6)
        found = {"train_loss": loss, "train_mean_token_accuracy": accuracy}
        if spec.validation_file is None:
            return found
        valid = {"loss": round(loss * 1.1 + 0.05, 6), "mean_token_accuracy": round(accuracy * 0.97, 6)}
        return found | {f"valid_{name}": value for name, value in valid.items()}

    return measured


def at_epoch(measured: Mapping[str, float]) -> dict[str, float]:
    """What the end of an epoch measures on the whole validation file."""
    return {f"full_{name}": value for name, value in measured.items() if name.startswith("valid_")}


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
    """Everything the job will tell unless it is paused or cancelled, oldest first."""
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
    # Long jobs tell every n-th step, so that clients need not page through a hundred thousand events.
    stride = max(10 if spec.azure else 1, math.ceil(total / 500))
    whole, measured = training_seconds(spec), measuring(spec)
    told = []
    for step in [*range(stride, total, stride), total]:
        found = measured(step)
        if step % steps_per_epoch(spec) == 0:
            found |= at_epoch(found)
        data: dict[str, object] = {"step": step, "total_steps": total, **found}
        words = f"Step {step}" + ("" if spec.azure else f"/{total}") + f": training loss={found['train_loss']:.2f}"
        for name, words_for in (("valid_loss", "validation loss"), ("full_valid_loss", "full validation loss")):
            words += f", {words_for}={found[name]:.2f}" if name in found else ""
        at = plan.started + 0.9 * whole * step / total
        if not (spec.stall == "running" and step > total / 2):
            told.append(Told(at, "info", "metrics", words, data))
    return told


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
        told.append(_plain(begun + PAUSING, "Fine-tuning job paused"))
        told.append(_plain(over, "Fine-tuning job resumed"))
    if stop < FOREVER:
        told.append(_plain(stop, "Fine-tuning job cancelled" if not spec.azure else "Job cancelled."))
    return sorted((event for event in told if event.at <= elapsed), key=lambda event: event.at)


def checkpoint_steps(spec: Spec) -> list[int]:
    """The last three epochs' ends; the very last is the model itself."""
    epochs = count(spec, "n_epochs")
    return [steps_per_epoch(spec) * epoch for epoch in range(max(1, epochs - 2), epochs + 1)]


def checkpoint_model(spec: Spec, step: int) -> str:
    return spec.tuned_model if step == total_steps(spec) else f"{spec.tuned_model}:ckpt-step-{step}"


def result_csv(spec: Spec) -> str:
    """The result file before base64; columns stay empty without validation."""
    columns = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
    rows = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    measured = measuring(spec)
    for step in range(1, total_steps(spec) + 1):
        found = measured(step)
        rows.append(",".join([str(step), *(str(found.get(name, "")) for name in columns)]))
    return "\n".join(rows) + "\n"
