"""Records as the API shows them, OpenAI's way and Azure's.  (pure but for the clock it is given)"""

from typing import Any

from simulator import telling, training
from simulator.telling import Told
from simulator.training import FOREVER
from simulator.world import Job, World
from wire import shapes


def job(world: World, found: Job) -> dict[str, object]:
    """With what users recorded: `finished_at: null` on failed ones, and Azure's lack of members."""
    spec, elapsed = found.spec, world.elapsed(found)
    status = training.status(spec, elapsed, found.marks)
    end = training.ends_at(spec, found.marks)
    won = status == "succeeded"
    failure = spec.refusal or spec.crash if status == "failed" else None
    method: Any = found.request.get("method")
    shown = shapes.job(
        found.request,
        spec.method,
        _hyperparameters(found, elapsed >= training.schedule(spec).resolved),
        created=found.created,
        finished=world.when(found, end) if status in {"succeeded", "cancelled"} else None,
        estimated=world.when(found, end) if status == "running" and end < FOREVER else None,
        error=dict(failure._asdict()) if failure else None,
        grader=method["reinforcement"]["grader"] if spec.method == "reinforcement" else None,
        id=spec.job_id,
        model=spec.model,
        fine_tuned_model=spec.tuned_model if won else None,
        organization_id=None if world.azure else spec.organization,
        result_files=[spec.result_file] if won else (None if world.azure else []),
        status=status,
        validation_file=spec.validation_file,
        training_file=spec.training_file,
        trained_tokens=training.trained_tokens(spec) if won else None,
        seed=found.seed,
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
    name = f"ftevent-{found.spec.token(f'{index}/{event.message}')}"
    return shapes.event(name, world.when(found, event.at), event.level, event.message, event.type, event.data)


def checkpoints(world: World, found: Job) -> list[dict[str, object]]:
    """Newest first; none before the model appears."""
    spec = found.spec
    if world.status(found) != "succeeded":
        return []
    shown, measured = [], telling.measuring(spec)
    ended = world.when(found, training.ends_at(spec, found.marks))
    for step in reversed(telling.checkpoint_steps(spec)):
        seen = measured(step)
        trained = {name: value for name, value in seen.items() if name.startswith("train_")}
        metrics = {"step": step, **trained, **telling.at_epoch(seen)}
        token, model = spec.token(f"checkpoint {step}"), telling.checkpoint_model(spec, step)
        shown.append(shapes.checkpoint(token, found.id, model, ended, step, metrics))
    return shown
