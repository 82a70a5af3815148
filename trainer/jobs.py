"""The routes below /fine_tuning/jobs."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from trainer import folders, graders, views
from trainer.app_keys import PROJECT, WAKE, run
from trainer.bases import Base
from trainer.records import Job, job_id_of
from trainer.store import Store
from trainer.templates import Untrainable, check_rewardable, training_template
from wire import shapes
from wire.bodies import asked, check_job, job_body
from wire.checking import integer, one_of
from wire.dataset import Dataset, hyperparameters, refusal
from wire.http import check_query, metadata_filter, page, read_json, reply
from wire.problems import Problem, bad

_MEMBERS = job_body(64, {"training": one_of("lora", "full", "qlora"), "lora_r": integer(least=1, most=256)})
_DATASET_KIND = {"supervised": "chat", "dpo": "preference", "reinforcement": "reinforcement"}
_LORA_R = 16


async def create(request: web.Request) -> web.StreamResponse:
    """A create is on disk before it is answered. The same create again finds the job that it made."""
    body = await read_json(request)
    check_job(body, _MEMBERS)
    key = request.headers.get("Idempotency-Key")
    job_id = job_id_of(request[PROJECT], body, key, uuid.uuid4().hex)

    def make(store: Store) -> shapes.Row:
        found = store.jobs.get(job_id) or _make(store, job_id, request[PROJECT], body)
        if found.request != body:
            words = f"Job {found.id} was made from another body under the same mark or Idempotency-Key."
            raise Problem(409, words, "idempotency_conflict")
        return views.job(store, found)

    shown = await run(request, make)
    request.app[WAKE].set()
    return reply(shown)


def _make(store: Store, job_id: str, project: str, body: dict[str, Any]) -> Job:
    store.check_room()
    method, given = asked(body)
    base = _base(store, str(body["model"]), method, body)
    training, validation = shapes.training_files(lambda name: store.file(name, project), body)
    trained = training.dataset or Dataset()
    seed = body.get("seed")
    job = Job(
        id=job_id,
        project=project,
        created_at=time.time(),
        model=base.alias,
        base=str(base.folder(store.config.data_dir)),
        method=method,
        training=body.get("training") or base.training[0],
        lora_r=body.get("lora_r", _LORA_R),
        hyperparameters=_resolved(method, given, trained.examples),
        learning_rates=base.learning_rates,
        seed=int(job_id[-7:], 16) if seed is None else seed,
        suffix=body.get("suffix"),
        tuned_model=_tuned_name(base.alias, store.config.organization, body.get("suffix"), job_id),
        training_file=training.id,
        validation_file=validation.id if validation else None,
        examples=trained.examples,
        context=base.context,
        request=body,
    )
    refused = refusal(trained, validation.dataset if validation else None, _DATASET_KIND[method])
    return store.add(job, training, validation, folders.failed(*refused) if refused else None)


def _resolved(method: str, given: Mapping[str, Any], examples: int) -> dict[str, Any]:
    found = hyperparameters(method, given, examples, 1.0)
    found.pop("reasoning_effort", None)
    return found


def _tuned_name(alias: str, organization: str, suffix: str | None, job_id: str) -> str:
    """Returns a name without a slash that no other job gets: it is a part of paths."""
    plain = "".join(char if (char.isalnum() and char.isascii()) or char in "._-" else "-" for char in suffix or "")
    return f"ft:{alias}:{organization}:{plain}:{job_id[-12:]}"


def _base(store: Store, alias: str, method: str, body: Mapping[str, Any]) -> Base:
    """Returns the base to train. Raises Problem 400 for what cannot be trained, or not so."""
    base = store.bases.get(alias)
    if base is None:
        tuned = " A tuned model cannot be tuned further here." if alias.startswith("ft:") else ""
        words = f"Model {alias} is not available for fine-tuning or does not exist.{tuned}"
        raise bad(f"{words} There are: {', '.join(store.bases) or 'none'}.", param="model", code="model_not_available")
    if method not in base.methods:
        words = f"Method '{method}' is not offered for {alias}, only: {', '.join(base.methods)}."
        raise bad(words, param="method.type", code="invalid_value")
    if method == "reinforcement":
        _check_reinforcement(body["method"]["reinforcement"])
    if body.get("integrations"):
        words = "Integrations are not offered: the job's events have each step's metrics."
        raise bad(words, param="integrations", code="invalid_value")
    wanted = body.get("training")
    if wanted is not None and wanted not in base.training:
        words = f"Training '{wanted}' is not offered for {alias}, only: {', '.join(base.training)}."
        raise bad(words, param="training", code="invalid_value")
    if wanted == "qlora" and store.config.slots.startswith("cpu"):
        raise bad("Training 'qlora' needs a GPU, and this trainer has none.", param="training", code="invalid_value")
    if wanted == "full" and "lora_r" in body:
        raise bad("'lora_r' does not go with training 'full'.", param="lora_r", code="invalid_value")
    if not base.is_here(store.config.data_dir):
        words = f"The weights of {alias} are not on this machine. Fetch them first: tunehook trainer fetch {alias}"
        raise bad(words, param="model", code="model_not_fetched")
    try:
        training_template(base.folder(store.config.data_dir))
        if method == "reinforcement":
            check_rewardable(base.folder(store.config.data_dir))
    except Untrainable as why:
        raise bad(str(why), param="model", code="model_not_trainable") from why
    return base


def _check_reinforcement(given: Mapping[str, Any]) -> None:
    graders.check(given["grader"], "method.reinforcement.grader")
    if given.get("hyperparameters", {}).get("reasoning_effort", "default") != "default":
        words = "A reasoning effort is not offered: a base thinks as its chat template has it."
        param = "method.reinforcement.hyperparameters.reasoning_effort"
        raise bad(words, param=param, code="invalid_value")


async def list_jobs(request: web.Request) -> web.StreamResponse:
    wanted = metadata_filter(request)

    def look(store: Store) -> web.Response:
        jobs = {job.id: job for job in store.jobs_of(request[PROJECT]) if wanted(job.metadata)}
        return page(request, jobs, lambda job: views.job(store, job), limit=20)

    return await run(request, look)


async def retrieve(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]
    return reply(await run(request, lambda store: views.job(store, store.job(name, project))))


async def act_on(request: web.Request) -> web.StreamResponse:
    """cancel, pause and resume."""
    name, action = request.match_info["id"], request.match_info["action"]

    def act(store: Store) -> shapes.Row:
        job = store.job(name, request[PROJECT])
        store.act(job, action)
        return views.job(store, job)

    shown = await run(request, act)
    request.app[WAKE].set()
    return reply(shown)


async def events(request: web.Request) -> web.StreamResponse:
    check_query(request, "after", "limit")
    name = request.match_info["id"]
    told = await run(request, lambda store: views.events(store, store.job(name, request[PROJECT])))
    return page(request, {event["id"]: event for event in told}, lambda row: row, limit=20)


async def checkpoints(request: web.Request) -> web.StreamResponse:
    check_query(request, "after", "limit")
    name = request.match_info["id"]
    kept = await run(request, lambda store: views.checkpoints_of(store, store.job(name, request[PROJECT])))
    return page(request, {row["id"]: row for row in kept}, lambda row: row, limit=10, ends=True)
