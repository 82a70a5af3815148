"""Records as the API shows them, and what is derived from a job's logs: events, checkpoints, the result file."""

import base64

from trainer import folders
from trainer.records import File, Job
from trainer.store import Store, checkpoints
from wire import shapes

#: The newest jobs on a base tell how long training takes.
_MEASURED_JOBS = 20
_COLUMNS = ("step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")


def file(found: File) -> shapes.Row:
    return shapes.file(
        found.id,
        found.filename,
        found.purpose,
        size=found.size,
        created=found.created_at,
        expires=found.expires_at,
        trouble=found.dataset.torn if found.dataset else None,
    )


def job(store: Store, found: Job) -> shapes.Row:
    """A job with the options that it was trained with, beside OpenAI's members."""
    status, ended = store.status(found), store.result(found) or {}
    won = status == "succeeded"
    error, tokens = ended.get("error"), ended.get("trained_tokens")
    shown = shapes.job(
        found.id,
        found.model,
        status=status,
        created=found.created_at,
        finished=float(str(ended["finished_at"])) if status in {"succeeded", "cancelled"} else None,
        tuned_model=found.tuned_model if won else None,
        organization=store.config.organization,
        result_files=[result_file_of(found)] if won else [],
        training_file=found.training_file,
        validation_file=found.validation_file,
        method=found.method,
        hyperparameters=found.hyperparameters,
        trained_tokens=tokens if won and isinstance(tokens, int) else None,
        error=error if isinstance(error, dict) else None,
        seed=found.seed,
        request=found.request,
    )
    return shown | {"training": found.training, "lora_r": found.lora_r if found.training != "full" else None}


def events(store: Store, found: Job) -> list[shapes.Row]:
    """Returns what was told of a job, newest first. Its beginning and its end need no log."""
    folder = store.folder(found)
    told = [_said("created", found.created_at, f"Created fine-tuning job: {found.id}")]
    for source in ("server", "events"):
        rows = enumerate(folders.lines(folder / f"{source}.jsonl"))
        told += [(float(str(row.get("created_at", 0))), f"{source}/{index}", row) for index, row in rows]
    told.sort(key=lambda one: one[0])
    ended = store.result(found)
    if ended is not None:
        told += _end(found, ended, told[-1][0])
    return [_event(found, *one) for one in reversed(told)]


Told = tuple[float, str, folders.Row]


def _said(key: str, at: float, message: str, level: str = "info") -> Told:
    return at, key, {"level": level, "message": message, "type": "message", "data": {}}


def _end(found: Job, ended: folders.Row, after: float) -> list[Told]:
    at = max(after, float(str(ended["finished_at"])))
    error = ended.get("error")
    if ended["status"] == "succeeded":
        return [
            _said("model", at, f"New fine-tuned model created: {found.tuned_model}"),
            _said("end", at, "The job has successfully completed."),
        ]
    if isinstance(error, dict):
        return [_said("end", at, str(error.get("message")), "error")]
    return [_said("end", at, "Fine-tuning job cancelled")]


def _event(found: Job, at: float, key: str, row: folders.Row) -> shapes.Row:
    return shapes.event(
        f"ftevent-{found.token(key)}",
        created=at,
        level=str(row.get("level", "info")),
        message=str(row.get("message", "")),
        kind=str(row.get("type", "message")),
        data=row.get("data"),
    )


def checkpoints_of(store: Store, found: Job) -> list[shapes.Row]:
    """Returns the checkpoints of a job that succeeded, newest first."""
    ended = store.result(found) or {}
    if ended.get("status") != "succeeded":
        return []
    shown = []
    for name, row in reversed(checkpoints(found, ended)):
        step, metrics = int(str(row["step_number"])), row.get("metrics")
        shown.append(
            shapes.checkpoint(
                f"ftckpt_{found.token(f'checkpoint {step}')}",
                job_id=found.id,
                model=name,
                created=float(str(ended["finished_at"])),
                step=step,
                metrics=metrics if isinstance(metrics, dict) else {"step": step},
            )
        )
    return shown


# ---- the result file, made of the events whenever it is asked for


def result_file_of(found: Job) -> str:
    return found.id.replace("ftjob-", "file-")


def result_bytes(store: Store, found: Job) -> bytes:
    """Returns the metrics of each step as CSV in base64, as OpenAI has it."""
    metrics = [
        row["data"] for row in folders.lines(store.folder(found) / "events.jsonl") if row.get("type") == "metrics"
    ]
    rows = [",".join(_COLUMNS).replace("train_mean_token_accuracy", "train_accuracy")]
    rows += [",".join(str(data.get(name, "")) for name in _COLUMNS) for data in metrics if isinstance(data, dict)]
    return base64.b64encode(("\n".join(rows) + "\n").encode())


def result_file(store: Store, found: Job) -> shapes.Row:
    ended = store.result(found) or {}
    return shapes.file(
        result_file_of(found),
        "step_metrics.csv",
        "fine-tune-results",
        size=len(result_bytes(store, found)),
        created=float(str(ended["finished_at"])),
        expires=None,
        trouble=None,
    )


def seconds_per_million(store: Store, base: str, device: str) -> float | None:
    """Returns how long a million trained tokens took on this device in jobs that succeeded; None before the first."""
    seconds = tokens = 0.0
    measured = 0
    for found in reversed(list(store.jobs.values())):
        if measured == _MEASURED_JOBS:
            break
        ended = store.result(found) if found.model == base else None
        if not ended or ended["status"] != "succeeded":
            continue
        ran, devices = _ran(store, found)
        if devices == {device}:
            measured += 1
            seconds, tokens = seconds + ran, tokens + int(str(ended["trained_tokens"]))
    return round(seconds / tokens * 1e6, 1) if tokens else None


def _ran(store: Store, found: Job) -> tuple[float, set[str]]:
    """Returns the seconds that a job trained, and on which devices; none, if a killed worker did not tell all."""
    begun, seconds, devices = 0, 0.0, set()
    for row in folders.lines(store.folder(found) / "server.jsonl"):
        data = row.get("data")
        begun += str(row.get("message")).startswith(("Fine-tuning job started", "Fine-tuning job resumed"))
        if isinstance(data, dict) and "seconds" in data:
            begun -= 1
            seconds += float(data["seconds"])
            devices.add(str(data["device"]))
    return (0.0, set()) if begun else (seconds, devices)
