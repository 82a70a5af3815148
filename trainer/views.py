"""Records as the API shows them, and what is derived from a job's logs: events, checkpoints, the result file."""

import base64
from itertools import islice

from trainer import folders
from trainer.folders import Row
from trainer.records import File, Job, Result
from trainer.store import Store, checkpoints
from wire import shapes

#: The newest jobs on a base tell how long training takes.
_MEASURED_JOBS = 20
_COLUMNS = ("step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
_REWARDS = ("step", "train_mean_reward", "full_valid_mean_reward", "completion_tokens_mean")


def file(found: File) -> Row:
    return found.shown(trouble=found.dataset.torn if found.dataset else None)


def job(store: Store, found: Job) -> Row:
    """A job with the options that it was trained with, beside OpenAI's members."""
    status, ended = store.status(found), store.result(found)
    won = status == "succeeded"  # of one that ends this moment, `ended` may know more
    shown = shapes.job(
        found.request,
        found.method,
        found.hyperparameters,
        id=found.id,
        model=found.model,
        created=found.created_at,
        finished=ended.finished_at if ended and status in {"succeeded", "cancelled"} else None,
        fine_tuned_model=found.tuned_model if won else None,
        organization_id=store.config.organization,
        result_files=[result_file_of(found)] if won else [],
        status=status,
        validation_file=found.validation_file,
        training_file=found.training_file,
        trained_tokens=ended.trained_tokens if ended and won else None,
        error=ended.error if ended and status == "failed" else None,
        grader=found.grader,
        seed=found.seed,
    )
    return shown | {"training": found.training, "lora_r": found.lora_r if found.training != "full" else None}


def events(store: Store, found: Job) -> list[Row]:
    """Returns what was told of a job, newest first. Its beginning and its end need no log."""
    folder = store.folder(found)
    told = [_said("created", found.created_at, f"Created fine-tuning job: {found.id}")]
    for source in ("server", "events"):
        rows = enumerate(folders.lines(folder / f"{source}.jsonl"))
        told += [(float(row["created_at"]), f"{source}/{index}", row) for index, row in rows]
    told.sort(key=lambda one: one[0])
    ended = store.result(found)
    if ended is not None:
        told += _end(found, ended, max(told[-1][0], ended.finished_at))
    return [_event(found, *one) for one in reversed(told)]


Told = tuple[float, str, Row]


def _said(key: str, at: float, message: str, level: str = "info") -> Told:
    return at, key, {"level": level, "message": message, "type": "message", "data": {}}


def _end(found: Job, ended: Result, at: float) -> list[Told]:
    if ended.won:
        return [
            _said("model", at, f"New fine-tuned model created: {found.tuned_model}"),
            _said("end", at, "The job has successfully completed."),
        ]
    if ended.error is not None:
        return [_said("end", at, str(ended.error.get("message")), "error")]
    return [_said("end", at, "Fine-tuning job cancelled")]


def _event(found: Job, at: float, key: str, row: Row) -> Row:
    return shapes.event(f"ftevent-{found.token(key)}", at, row["level"], row["message"], row["type"], row["data"])


def checkpoints_of(store: Store, found: Job) -> list[Row]:
    """Returns the checkpoints of a job that succeeded, newest first."""
    ended = store.result(found)
    if ended is None or not ended.won:
        return []
    at, kept = ended.finished_at, [(row.step_number, name, row.metrics) for name, row in checkpoints(found, ended)]
    return [
        shapes.checkpoint(found.token(f"checkpoint {step}"), found.id, name, at, step, metrics)
        for step, name, metrics in reversed(kept)
    ]


# ---- the result file, made of the events whenever it is asked for


def result_file_of(found: Job) -> str:
    return found.id.replace("ftjob-", "file-")


def result_bytes(store: Store, found: Job) -> bytes:
    """Returns the metrics of each step as CSV in base64, as OpenAI has it."""
    told = [row["data"] for row in folders.lines(store.folder(found) / "events.jsonl") if row["type"] == "metrics"]
    columns = _REWARDS if found.method == "reinforcement" else _COLUMNS
    rows = [",".join(columns).replace("train_mean_token_accuracy", "train_accuracy")]
    rows += [",".join(str(data.get(name, "")) for name in columns) for data in told]
    return base64.b64encode(("\n".join(rows) + "\n").encode())


def result_file(store: Store, found: Job, ended: Result) -> Row:
    return shapes.File(
        id=result_file_of(found),
        created_at=ended.finished_at,
        filename="step_metrics.csv",
        purpose="fine-tune-results",
        size=len(result_bytes(store, found)),
        expires_at=None,
    ).shown()


def seconds_per_million(store: Store, base: str, device: str) -> float | None:
    """Returns how long a million trained tokens took on this device in jobs that succeeded; None before the first.

    By reinforcement a token takes far longer: it is written first."""
    jobs = [job for job in list(store.jobs.values()) if job.model == base and job.method != "reinforcement"]
    ends = ((job, store.result(job)) for job in reversed(jobs))
    ran = ((_ran(store, job), ended.trained_tokens) for job, ended in ends if ended and ended.won)
    measured = list(islice(((seconds, count) for (seconds, on), count in ran if on == {device}), _MEASURED_JOBS))
    tokens = sum(count for _, count in measured)
    return round(sum(seconds for seconds, _ in measured) / tokens * 1e6, 1) if tokens else None


def _ran(store: Store, found: Job) -> tuple[float, set[str]]:
    """Returns the seconds that a job trained, and on which devices; none, if a killed worker did not tell all."""
    begun, seconds, devices = 0, 0.0, set()
    for row in folders.lines(store.folder(found) / "server.jsonl"):
        data = row["data"]
        begun += row["message"].startswith(("Fine-tuning job started", "Fine-tuning job resumed"))
        if "seconds" in data:
            begun -= 1
            seconds += float(data["seconds"])
            devices.add(str(data["device"]))
    return (0.0, set()) if begun else (seconds, devices)
