"""The routes below /fine_tuning/jobs."""

import hashlib

from aiohttp import web

from simulator import views
from simulator.breaking import IGNORE_FILTER, LANDS_AFTER, LIST_LAG, play
from simulator.examples import Dataset
from simulator.faults import LIVES, Directive, from_body
from simulator.known_models import is_tunable, snapshot
from simulator.problems import bad, named
from simulator.repeats import spent
from simulator.requests import check_job
from simulator.training import Failure, Spec, base_model
from simulator.wire import check_query, is_azure, page, read_json, read_limit, reply, world
from simulator.world import File, Job, World, new_id

_DATASET_KIND = {"supervised": "chat", "dpo": "preference", "reinforcement": "reinforcement"}
_STALLS = {"stall": "running", "stall_validating": "validating_files", "stall_queued": "queued"}


async def create(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    model, directive = from_body(body)
    if model:  # a missing or senseless one is refused as such
        body["model"] = model
    if directive and spent(request, directive, f"{body.get('training_file')} {body.get('metadata')} {model}"):
        directive = None

    async def act(request: web.Request) -> web.StreamResponse:
        job = await _begin(request, body, directive)
        return reply(views.job(world(request), job), status=201 if is_azure(request) else 200)

    if directive is None or directive.name in LIVES:
        return await act(request)
    return await play(directive, request, act)


async def _begin(request: web.Request, body: dict[str, object], directive: Directive | None) -> Job:
    here = world(request)
    check_job(body, azure=here.azure)
    model = str(body["model"])
    if not is_tunable(model) and here.model(model) is None:
        problem = named("model_not_available", None)
        problem.message = f"Model {model} is not available for fine-tuning or does not exist."
        raise problem
    trained = here.training_file(body["training_file"], "training_file")
    validated = None
    if body.get("validation_file"):
        validated = here.training_file(body["validation_file"], "validation_file")
    tokens = await trained.blob.billed(base_model(model), _kind(body))
    sequence = here.next_sequence()
    name = new_id("ftjob")
    spec = _spec(here, name, body=body, trained=trained, validated=validated, tokens=tokens, directive=directive)
    seed = body.get("seed")
    now = here.clock.now() + request.get(LANDS_AFTER, 0.0)
    job = Job(
        spec,
        created=now,
        sequence=sequence,
        request=body,
        seed=seed if isinstance(seed, int) else int(hashlib.sha256(name.encode()).hexdigest()[:7], 16),
        dataset=trained.dataset or Dataset(),
        listed=now + _seconds(directive, "list_lag", 30.0),
        model_delay=_seconds(directive, "model_late", 180.0) or here.config.model_delay,
    )
    here.add_job(job)
    return job


def _seconds(directive: Directive | None, name: str, default: float) -> float:
    if directive is None or directive.name != name:
        return 0.0
    return default if directive.seconds is None else directive.seconds


def _asked(body: dict[str, object]) -> tuple[str, tuple[tuple[str, object], ...]]:
    """The method and its hyperparameters, from `method` or from the deprecated member."""
    method = body.get("method")
    kind, given = "supervised", body.get("hyperparameters")
    if isinstance(method, dict):
        kind = method["type"]
        given = method.get(kind, {}).get("hyperparameters")
    return kind, tuple(sorted(given.items())) if isinstance(given, dict) else ()


def _kind(body: dict[str, object]) -> str:
    """The kind of dataset that the job is trained on."""
    completion = base_model(str(body["model"])) in {"babbage-002", "davinci-002"}
    return "completion" if completion else _DATASET_KIND[_asked(body)[0]]


def _spec(
    here: World,
    name: str,
    *,
    body: dict[str, object],
    trained: File,
    validated: File | None,
    tokens: int,
    directive: Directive | None,
) -> Spec:
    method, asked = _asked(body)
    kind = _kind(body)
    life = directive.name if directive else ""
    refusal = _demanded(life) or _refusal(trained, kind, "training_file")
    if refusal is None and validated is not None:
        refusal = _refusal(validated, kind, "validation_file")
    dataset = trained.dataset or Dataset()
    suffix = body.get("suffix")
    return Spec(
        job_id=name,
        model=snapshot(str(body["model"])),
        training_file=trained.id,
        validation_file=validated.id if validated else None,
        method=method,
        examples=dataset.examples,
        tokens=tokens,
        asked=asked,
        suffix=suffix if isinstance(suffix, str) else None,
        organization=here.config.organization,
        azure=here.azure,
        refusal=refusal,
        crash=Failure("server_error", "The job failed due to an internal error.", None) if life == "fail" else None,
        stall=_STALLS.get(life),
        pauses_itself=life == "pause",
        long_wait=_seconds(directive, "long_queue", 12 * 3600.0),
    )


def _demanded(life: str) -> Failure | None:
    words = {
        "invalid_n_examples": "Training file has 7 example(s), but must have at least 10 examples",
        "invalid_training_file": (
            "The job failed due to an invalid training file. Invalid file format. "
            "Example 100, message 2 Discriminator 'role' is missing in value"
        ),
        "unsafe_file": (
            "The job failed due to an unsafe training file. This training file was blocked because "
            "too many examples were flagged by our moderation."
        ),
    }
    return Failure(life, words[life], "training_file") if life in words else None


def _refusal(file: File, kind: str, param: str) -> Failure | None:
    """What validation will find; a validation file may be short."""
    found = file.dataset or Dataset()
    if kind in found.problems:
        words = f"The job failed due to an invalid {param.replace('_', ' ')}. {found.problems[kind]}"
        return Failure(f"invalid_{param}", words, param)
    if param == "training_file" and found.examples < 10:
        words = f"Training file has {found.examples} example(s), but must have at least 10 examples"
        return Failure("invalid_n_examples", words, param)
    return None


async def list_jobs(request: web.Request) -> web.StreamResponse:
    here = world(request)
    keys = [name for name in request.query if name.startswith("metadata[") and name.endswith("]")]
    check_query(request, "after", "limit", "metadata", *keys)
    wanted = {name[len("metadata[") : -1]: request.query[name] for name in keys}
    none_wanted = request.query.get("metadata") in {"", "null"}  # Node sends metadata= for null
    if "metadata" in request.query and not none_wanted:
        raise bad("Write the filter as metadata[key]=value, or metadata=null.", param="metadata")
    now, lag = here.clock.now(), request.get(LIST_LAG, 0.0)
    jobs = [job for job in here.landed() if now >= max(job.listed, job.created + lag)]
    if not request.get(IGNORE_FILTER):
        jobs = [job for job in jobs if all(job.metadata.get(key) == value for key, value in wanted.items())]
        if none_wanted:
            jobs = [job for job in jobs if not job.metadata]
    shown, more = page(request, jobs, lambda job: job.id, limit=read_limit(request, 20, 100))
    return reply({"object": "list", "data": [views.job(here, job) for job in shown], "has_more": more})


async def retrieve(request: web.Request) -> web.StreamResponse:
    here = world(request)
    return reply(views.job(here, here.job(request.match_info["id"])))


async def act_on(request: web.Request) -> web.StreamResponse:
    """cancel, pause and resume."""
    here = world(request)
    job, action = here.job(request.match_info["id"]), request.match_info["action"]
    status = here.status(job)
    allowed = {
        "cancel": status not in {"succeeded", "failed", "cancelled"},
        "pause": status in {"queued", "running", "resuming"},
        "resume": status in {"pausing", "paused"},
    }
    if not allowed[action]:
        raise bad(
            f"Cannot {action} job {job.id}: it has status '{status}'.",
            code="invalid_state",
        )
    here.mark(job, action)
    here.settle()
    return reply(views.job(here, job))


async def events(request: web.Request) -> web.StreamResponse:
    check_query(request, "after", "limit")
    here = world(request)
    told = views.events(here, here.job(request.match_info["id"]))
    shown, more = page(request, told, lambda event: str(event["id"]), limit=read_limit(request, 20, 100))
    return reply({"object": "list", "data": shown, "has_more": more})


async def checkpoints(request: web.Request) -> web.StreamResponse:
    check_query(request, "after", "limit")
    here = world(request)
    kept = views.checkpoints(here, here.job(request.match_info["id"]))
    shown, more = page(request, kept, lambda checkpoint: str(checkpoint["id"]), limit=read_limit(request, 10, 100))
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return reply({"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": more})
