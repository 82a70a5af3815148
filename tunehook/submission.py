"""From a request to a job: everything that can be refused is refused here, before anything is stored."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunehook import costing, fitness, job_request, lifecycle
from tunehook.address import AddressRefused, check_url
from tunehook.dataset import Estimate
from tunehook.dataset.estimate import outlook
from tunehook.dataset.tokens import base_model
from tunehook.errors import (
    CostAboveLimit,
    FileNotFound,
    FileUnusable,
    IdempotencyMismatch,
    InvalidParameter,
    ModelNotFound,
    UnknownUpstream,
)
from tunehook.job_request import JobRequest
from tunehook.model import AT_UPSTREAM, REPEAT_SECONDS, ApiKey, File, FileRef, Job, JobSpec, new_id
from tunehook.offered import shutdown_dates
from tunehook.store import keys
from tunehook.store.commit import Missing
from tunehook.store.jobs import IDEMPOTENCY_SECONDS, JobRecord
from tunehook.world import World

Rows = list[dict[str, Any]]
#: What OpenAI answers a create since it closes fine-tuning in steps.
NOT_AVAILABLE = "training_not_available"


async def submit(
    world: World, caller: ApiKey, body: dict[str, Any], *, idempotency_key: str | None, sdk_retry: bool
) -> JobRecord:
    """The accepted job; the earlier one, if this call repeats one.

    A repeat is one with the Idempotency-Key of an earlier call (24 h), or an SDK's own retry of the same body
    by the same key (15 min): decided inside the commit that would make the job.
    """
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    by_body = keys.repeat(caller.id, digest)
    # A retry may overtake its first call, which a client that has hung up does not end: what retries of this body
    # had made when this call came is no repeat of it, and what they make from now on is.
    by_retry = keys.retried(caller.id, digest)
    remember, recall = [(by_body, REPEAT_SECONDS)], [(by_retry, await world.store.jobs.by_key(by_retry) or "")]
    if sdk_retry:
        remember, recall = [*remember, (by_retry, REPEAT_SECONDS)], [(by_body, "")]
    by_key = keys.idempotency(caller.project, idempotency_key) if idempotency_key else None
    if by_key:
        remember, recall = [*remember, (by_key, IDEMPOTENCY_SECONDS)], [(by_key, "")]
        earlier = await world.store.jobs.by_key(by_key)
        if earlier:
            return _replayed(await world.store.jobs.read(earlier, caller.project), digest)
    request = job_request.parse(body)
    plan = await _plan(world, caller, request)
    job = await _job(world, caller, request, plan, digest)
    try:
        record = await lifecycle.submit(world, job, remember=remember, recall=recall)
    except Missing as gone:  # deleted a moment ago
        raise FileNotFound(id=gone.key.rpartition(":")[2], param="training_file") from gone
    if sdk_retry and record.job is not job:  # its first call may still be under way, and is to find the same
        await world.store.jobs.remember(by_retry, record.job.id, REPEAT_SECONDS)
    if record.job is job and (job.estimate is None or plan.validation_file):
        world.costing.later(costing.after_acceptance(world, job, request, plan.training_file, plan.validation_file))
    return _replayed(record, digest)


async def estimate(world: World, caller: ApiKey, body: dict[str, Any], offered: Mapping[str, Rows]) -> Estimate:
    """What the job would cost; nothing is made. `offered`: what each upstream lists as its models."""
    request = job_request.parse(body)
    plan = await _plan(world, caller, request)
    file = plan.training_file
    if file is None or file.dataset is None:
        why = "its bytes are not here, so nobody can count its tokens; upload it here"
        raise FileUnusable(id=request.training_file, why=why, param="training_file")
    warnings = outlook(
        request.model,
        shutdown_date=shutdown_dates(offered.get(plan.upstream, [])).get(base_model(request.model)),
        not_available=await world.store.jobs.last_refusal(caller.project, plan.upstream) == NOT_AVAILABLE,
    )
    if plan.validation_file is not None:
        shared = await fitness.shared_examples(world.shelf, file, plan.validation_file)
        warnings += [shared] if shared else []
    counted = await world.costing.counted(world, file, request.model)
    return costing.expected(request, file, counted, await world.costing.prices(), warnings)


def _replayed(record: JobRecord, digest: str) -> JobRecord:
    """The job, if it is what this body asks for."""
    if record.job.request_sha256 != digest:
        raise IdempotencyMismatch
    return record


@dataclass(frozen=True)
class _Plan:
    """What a request comes to, once all that it names was found fit. Files at the upstream have no record here."""

    upstream: str
    training: FileRef
    validation: FileRef | None
    training_file: File | None
    validation_file: File | None


async def _plan(world: World, caller: ApiKey, request: JobRequest) -> _Plan:
    upstream = await _upstream(world, caller, request)
    if request.callback_url is not None:
        try:
            check_url(request.callback_url, world.allow)
        except AddressRefused as refused:
            raise InvalidParameter(param="callback_url", why=str(refused.fields["rule"])) from refused
    training, training_file = await _file(world, caller, request.training_file, "training_file")
    validation = validation_file = None
    if request.validation_file is not None:
        validation, validation_file = await _file(world, caller, request.validation_file, "validation_file")
    elif request.kind == "reinforcement":
        raise InvalidParameter(param="validation_file", why="reinforcement needs a validation file as well")
    if training_file is not None:
        fitness.check_training(training_file, model=request.model, method=request.kind)
    if validation_file is not None:
        fitness.check_file(validation_file, model=request.model, method=request.kind, param="validation_file")
    if request.method is not None and request.method.reinforcement is not None:
        grader = request.method.reinforcement.grader.model_dump()
        for file, param in ((training_file, "training_file"), (validation_file, "validation_file")):
            if file is not None:
                await fitness.check_items(world.shelf, file, grader, param)
    return _Plan(upstream, training, validation, training_file, validation_file)


async def _job(world: World, caller: ApiKey, request: JobRequest, plan: _Plan, digest: str) -> Job:
    asked = request.model_dump(exclude_none=True, exclude={"callback_url", "tunehook", "seed"})
    # A seed of our own where none is asked for: where an upstream shows no metadata, it tells our jobs from others.
    seed = request.seed if request.seed is not None else secrets.randbelow(job_request.MAX_SEED)
    told = await _priced(world, request, plan)
    return Job(
        id=new_id("ftjob-"),
        project=caller.project,
        key_id=caller.id,
        created_at=int(time.time()),
        spec=JobSpec(seed=seed, **asked),
        upstream=plan.upstream,
        callback_url=request.callback_url,
        training=plan.training,
        validation=plan.validation,
        mark=world.instance,
        request_sha256=digest,
        price=costing.price_of((await world.costing.prices()).find(request.model, request.kind)),
        estimate=costing.cost_of(told) if told else None,
    )


async def _priced(world: World, request: JobRequest, plan: _Plan) -> Estimate | None:
    """The estimate, if it can be had without counting, or must be had. Raises CostAboveLimit."""
    limit = request.tunehook.max_cost_usd if request.tunehook else None
    file = plan.training_file
    if file is None or file.dataset is None:
        if limit is not None:
            why = "a limit of cost is asked for, but the training file is not here, so nobody can count its tokens"
            raise CostAboveLimit(why=why, param="tunehook.max_cost_usd")
        return None
    counted = costing.already_counted(file, request.model)
    if counted is None and limit is None:
        return None
    counted = counted or await world.costing.counted(world, file, request.model)
    told = costing.expected(request, file, counted, await world.costing.prices())
    if limit is not None and (told.cost_usd is None or told.cost_usd > limit):
        raise CostAboveLimit(why=_too_much(told, limit), param="tunehook.max_cost_usd")
    return told


def _too_much(told: Estimate, limit: float) -> str:
    if told.cost_usd is None:
        return f"a limit of cost is asked for, but the cost cannot be estimated. {' '.join(told.warnings)}".rstrip(".")
    return (
        f"it is estimated to cost {told.cost_usd:.2f} USD ({told.billed_tokens:,} billed tokens, {told.epochs} epochs, "
        f"{told.usd_per_million_tokens} USD per million), which is above the limit of {limit:.2f} USD"
    )


async def _upstream(world: World, caller: ApiKey, request: JobRequest) -> str:
    """The one asked for; for a model that was tuned here, the one that has it; else the first.

    Raises ModelNotFound for one that another project tuned here: its name is not a key to it.
    """
    if await world.store.models.owner(request.model) not in (None, caller.project):
        raise ModelNotFound(id=request.model[:200], param="model")
    known = ", ".join(world.upstreams) or "none: set OPENAI_API_KEY"
    named = request.tunehook.upstream if request.tunehook else None
    if named is not None:
        if named not in world.upstreams:
            raise UnknownUpstream(param="tunehook.upstream", name=named, known=known)
        return named
    if request.model.startswith("ft:"):
        made = await world.store.models.find(request.model, caller.project)
        if made is not None and made.upstream in world.upstreams:
            return made.upstream
    if not world.upstreams:
        raise UnknownUpstream(param="tunehook.upstream", name="(default)", known=known)
    return next(iter(world.upstreams))


async def _file(world: World, caller: ApiKey, file_id: str, param: str) -> tuple[FileRef, File | None]:
    if file_id.startswith(AT_UPSTREAM):
        if not re.fullmatch(r"file-[A-Za-z0-9_-]{1,120}", file_id.removeprefix(AT_UPSTREAM)):
            raise InvalidParameter(param=param, why="after 'upstream:' stands the file's id there, such as file-abc123")
        return FileRef(id=file_id, sha256="", bytes=0), None
    try:
        file = await world.store.files.read(file_id, caller.project)
    except FileNotFound as missing:
        raise InvalidParameter(f"{missing.message} ({param})", param=param) from missing
    if file.purpose != "fine-tune":
        raise FileUnusable(id=file_id, why=f"its purpose is {file.purpose!r}, not 'fine-tune'", param=param)
    if not await world.shelf.exists(file_id):
        raise FileUnusable(id=file_id, why="its content is no longer kept here; upload it again", param=param)
    return FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes), file
