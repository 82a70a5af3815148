"""The routes below /fine_tuning/jobs."""

import asyncio
import hashlib
from typing import Any

from aiohttp import web

from simulator import views
from simulator.breaking import IGNORE_FILTER, LANDS_AFTER, LIST_LAG, play, spent
from simulator.examples import Dataset
from simulator.faults import LIVES, Directive, from_body
from simulator.known_models import is_tunable, snapshot
from simulator.places import is_azure, world
from simulator.problems import named
from simulator.tokens import billed
from simulator.training import Failure, Spec, base_model
from simulator.world import File, Job, World
from wire import shapes
from wire.bodies import asked, check_job, job_body
from wire.dataset import refusal
from wire.http import check_query, metadata_filter, page, read_json, reply
from wire.problems import check_action

_MEMBERS = {False: job_body(64), True: job_body(40)}
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


async def _begin(request: web.Request, body: dict[str, Any], directive: Directive | None) -> Job:
    here = world(request)
    check_job(body, _MEMBERS[here.azure])
    model = str(body["model"])
    if not is_tunable(model) and here.model(model) is None:
        problem = named("model_not_available", None)
        problem.message = f"Model {model} is not available for fine-tuning or does not exist."
        raise problem
    trained, validated = shapes.training_files(here.file, body)
    here.check_ready(trained, "training_file")
    if validated:
        here.check_ready(validated, "validation_file")
    tokens = await asyncio.to_thread(trained.blob.read, lambda lines: billed(lines, base_model(model), _kind(body)))
    name = shapes.new_id("ftjob")
    spec = _spec(here, name, body=body, trained=trained, validated=validated, tokens=tokens, directive=directive)
    seed = body.get("seed")
    now = here.clock.now() + request.get(LANDS_AFTER, 0.0)
    job = Job(
        spec,
        created=now,
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


def _kind(body: dict[str, Any]) -> str:
    """The kind of dataset that the job is trained on."""
    completion = base_model(str(body["model"])) in {"babbage-002", "davinci-002"}
    return "completion" if completion else _DATASET_KIND[asked(body)[0]]


def _spec(
    here: World,
    name: str,
    *,
    body: dict[str, Any],
    trained: File,
    validated: File | None,
    tokens: int,
    directive: Directive | None,
) -> Spec:
    method, hyperparameters = asked(body)
    kind = _kind(body)
    life = directive.name if directive else ""
    dataset = trained.dataset or Dataset()
    refused = refusal(dataset, validated.dataset if validated else None, kind)
    return Spec(
        job_id=name,
        model=snapshot(str(body["model"])),
        training_file=trained.id,
        validation_file=validated.id if validated else None,
        method=method,
        examples=dataset.examples,
        tokens=tokens,
        asked=tuple(sorted(hyperparameters.items())),
        suffix=body.get("suffix"),
        organization=here.config.organization,
        azure=here.azure,
        refusal=_demanded(life) or (Failure(*refused) if refused else None),
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


async def list_jobs(request: web.Request) -> web.StreamResponse:
    here, wanted = world(request), metadata_filter(request)
    now, lag = here.clock.now(), request.get(LIST_LAG, 0.0)
    jobs = [job for job in here.landed() if now >= max(job.listed, job.created + lag)]
    if not request.get(IGNORE_FILTER):
        jobs = [job for job in jobs if wanted(job.metadata)]
    return page(request, {job.id: job for job in jobs}, lambda job: views.job(here, job), limit=20)


async def retrieve(request: web.Request) -> web.StreamResponse:
    here = world(request)
    return reply(views.job(here, here.job(request.match_info["id"])))


async def act_on(request: web.Request) -> web.StreamResponse:
    """cancel, pause and resume."""
    here = world(request)
    job, action = here.job(request.match_info["id"]), request.match_info["action"]
    check_action(action, job.id, here.status(job))
    here.mark(job, action)
    here.settle()
    return reply(views.job(here, job))


async def events(request: web.Request) -> web.StreamResponse:
    check_query(request, "after", "limit")
    here = world(request)
    told = views.events(here, here.job(request.match_info["id"]))
    return page(request, {str(event["id"]): event for event in told}, lambda row: row, limit=20)


async def checkpoints(request: web.Request) -> web.StreamResponse:
    check_query(request, "after", "limit")
    here = world(request)
    kept = views.checkpoints(here, here.job(request.match_info["id"]))
    return page(request, {str(row["id"]): row for row in kept}, lambda row: row, limit=10, ends=True)
