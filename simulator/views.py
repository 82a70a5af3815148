"""Records as the API shows them, OpenAI's way and Azure's.  (pure but for the clock it is given)"""

import math

from simulator import telling, training
from simulator.telling import Told
from simulator.training import FOREVER
from simulator.world import File, Job, Upload, World

_HEALTHY = {"code": None, "message": None, "param": None}


def file(found: File, now: float) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": found.id,
        "object": "file",
        "bytes": found.blob.size,
        "created_at": int(found.created),
        "filename": found.filename,
        "purpose": found.purpose,
        "status": "processed" if now >= found.ready else "uploaded",
        "status_details": None,
        "expires_at": None if found.expires == math.inf else int(found.expires),
    }
    if found.trouble:
        shown |= {"status": "error", "status_details": found.trouble}
    return shown


def upload(found: Upload, now: float) -> dict[str, object]:
    expired = found.status == "pending" and now >= found.created + 3600
    return {
        "id": found.id,
        "object": "upload",
        "bytes": found.bytes,
        "created_at": int(found.created),
        "filename": found.filename,
        "purpose": found.purpose,
        "status": "expired" if expired else found.status,
        "expires_at": int(found.created) + 3600,
        "file": file(found.file, now) if found.file else None,
    }


def job(world: World, found: Job) -> dict[str, object]:
    """With what users recorded: a null-filled `error` on healthy jobs, `finished_at: null` on failed ones,
    undocumented members, and null for the hyperparameters of a DPO job."""
    spec, elapsed = found.spec, world.elapsed(found)
    status = training.status(spec, elapsed, found.marks)
    end = training.ends_at(spec, found.marks)
    won = status == "succeeded"
    resolved = elapsed >= training.schedule(spec).resolved
    shown: dict[str, object] = {
        "object": "fine_tuning.job",
        "id": spec.job_id,
        "model": spec.model,
        "created_at": int(found.created),
        "finished_at": int(world.when(found, end)) if status in {"succeeded", "cancelled"} else None,
        "fine_tuned_model": spec.tuned_model if won else None,
        "organization_id": None if world.azure else spec.organization,
        "result_files": [spec.result_file] if won else (None if world.azure else []),
        "status": status,
        "validation_file": spec.validation_file,
        "training_file": spec.training_file,
        "hyperparameters": _hyperparameters(found, resolved) if spec.method == "supervised" else None,
        "trained_tokens": training.trained_tokens(spec) if won else None,
        "error": _error(found) if status == "failed" else dict(_HEALTHY),
        "seed": found.seed,
        "estimated_finish": int(world.when(found, end)) if status == "running" and end < FOREVER else None,
        "integrations": found.request.get("integrations") or [],
        "metadata": found.request.get("metadata"),
        "method": _method(found, resolved),
        "user_provided_suffix": spec.suffix,
        "usage_metrics": None,
        "shared_with_openai": False,
    }
    if world.azure:
        del shown["shared_with_openai"], shown["usage_metrics"]
    return shown


def _error(found: Job) -> dict[str, object]:
    failure = found.spec.refusal or found.spec.crash
    return dict(failure._asdict()) if failure else dict(_HEALTHY)


def _hyperparameters(found: Job, resolved: bool) -> dict[str, object]:
    if resolved:
        return training.hyperparameters(found.spec)
    asked = dict(found.spec.asked)
    shown = {name: asked.get(name, "auto") for name in training.hyperparameters(found.spec)}
    if found.spec.azure and shown["n_epochs"] == "auto":
        shown["n_epochs"] = -1
    return shown


def _method(found: Job, resolved: bool) -> dict[str, object]:
    kind = found.spec.method
    inner: dict[str, object] = {"hyperparameters": _hyperparameters(found, resolved)}
    sent = found.request.get("method")
    if kind == "reinforcement" and isinstance(sent, dict):
        inner["grader"] = sent["reinforcement"]["grader"]
    return {"type": kind, kind: inner}


def events(world: World, found: Job) -> list[dict[str, object]]:
    """Newest first, as the API lists them."""
    told = telling.events(found.spec, world.elapsed(found), found.marks)
    return [_event(world, found, event, index) for index, event in reversed(list(enumerate(told)))]


def _event(world: World, found: Job, event: Told, index: int) -> dict[str, object]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{found.spec.token(f'{index}/{event.message}')}",
        "created_at": int(world.when(found, event.at)),
        "level": event.level,
        "message": event.message,
        "data": event.data,
        "type": event.type,
    }


def checkpoints(world: World, found: Job) -> list[dict[str, object]]:
    """Newest first; none before the model appears."""
    spec = found.spec
    if world.status(found) != "succeeded":
        return []
    shown, measured = [], telling.measuring(spec)
    for step in reversed(telling.checkpoint_steps(spec)):
        seen = measured(step)
        metrics: dict[str, object] = {
            "step": step,
            "train_loss": seen.train_loss,
            "train_mean_token_accuracy": seen.train_accuracy,
        }
        if seen.valid_loss is not None:
            metrics |= {"full_valid_loss": seen.valid_loss, "full_valid_mean_token_accuracy": seen.valid_accuracy}
        shown.append(
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftckpt_{spec.token(f'checkpoint {step}')}",
                "created_at": int(world.when(found, training.ends_at(spec, found.marks))),
                "fine_tuned_model_checkpoint": telling.checkpoint_model(spec, step),
                "fine_tuning_job_id": spec.job_id,
                "metrics": metrics,
                "step_number": step,
            }
        )
    return shown
