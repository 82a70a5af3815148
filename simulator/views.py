"""Records as the API shows them, OpenAI's way and Azure's.  (pure but for the clock it is given)"""

import math

from simulator import telling, training
from simulator.telling import Told
from simulator.training import FOREVER
from simulator.world import File, Job, Upload, World
from wire import shapes


def file(found: File, now: float) -> dict[str, object]:
    return shapes.file(
        found.id,
        found.filename,
        found.purpose,
        size=found.blob.size,
        created=found.created,
        expires=None if found.expires == math.inf else found.expires,
        trouble=found.trouble,
        ready=now >= found.ready,
    )


def upload(found: Upload, now: float) -> dict[str, object]:
    expired = found.status == "pending" and now >= found.created + shapes.UPLOAD_SECONDS
    return shapes.upload(
        found.id,
        found.filename,
        found.purpose,
        size=found.bytes,
        created=found.created,
        status="expired" if expired else found.status,
        made=file(found.file, now) if found.file else None,
    )


def job(world: World, found: Job) -> dict[str, object]:
    """With what users recorded: `finished_at: null` on failed ones, and Azure's lack of members."""
    spec, elapsed = found.spec, world.elapsed(found)
    status = training.status(spec, elapsed, found.marks)
    end = training.ends_at(spec, found.marks)
    won = status == "succeeded"
    failure = spec.refusal or spec.crash if status == "failed" else None
    sent = found.request.get("method")
    shown = shapes.job(
        spec.job_id,
        spec.model,
        status=status,
        created=found.created,
        finished=world.when(found, end) if status in {"succeeded", "cancelled"} else None,
        tuned_model=spec.tuned_model if won else None,
        organization=None if world.azure else spec.organization,
        result_files=[spec.result_file] if won else (None if world.azure else []),
        training_file=spec.training_file,
        validation_file=spec.validation_file,
        method=spec.method,
        hyperparameters=_hyperparameters(found, elapsed >= training.schedule(spec).resolved),
        trained_tokens=training.trained_tokens(spec) if won else None,
        error=dict(failure._asdict()) if failure else None,
        seed=found.seed,
        request=found.request,
        estimated_finish=int(world.when(found, end)) if status == "running" and end < FOREVER else None,
        grader=sent["reinforcement"]["grader"] if spec.method == "reinforcement" and isinstance(sent, dict) else None,
    )
    if world.azure:
        del shown["shared_with_openai"], shown["usage_metrics"]
    return shown


def _hyperparameters(found: Job, resolved: bool) -> dict[str, object]:
    if resolved:
        return training.hyperparameters(found.spec)
    asked = dict(found.spec.asked)
    shown = {name: asked.get(name, "auto") for name in training.hyperparameters(found.spec)}
    if found.spec.azure and shown["n_epochs"] == "auto":
        shown["n_epochs"] = -1
    return shown


def events(world: World, found: Job) -> list[dict[str, object]]:
    """Newest first, as the API lists them."""
    told = telling.events(found.spec, world.elapsed(found), found.marks)
    return [_event(world, found, event, index) for index, event in reversed(list(enumerate(told)))]


def _event(world: World, found: Job, event: Told, index: int) -> dict[str, object]:
    return shapes.event(
        f"ftevent-{found.spec.token(f'{index}/{event.message}')}",
        created=world.when(found, event.at),
        level=event.level,
        message=event.message,
        kind=event.type,
        data=event.data,
    )


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
            shapes.checkpoint(
                f"ftckpt_{spec.token(f'checkpoint {step}')}",
                job_id=spec.job_id,
                model=telling.checkpoint_model(spec, step),
                created=world.when(found, training.ends_at(spec, found.marks)),
                step=step,
                metrics=metrics,
            )
        )
    return shown
