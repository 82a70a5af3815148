"""Submission: turns a request into an accepted job, or refuses it before anything is stored."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from tunehook import projects, telemetry
from tunehook.context import Context
from tunehook.dataset.estimate import Estimate, outlook
from tunehook.dataset.prices import usd_text
from tunehook.dataset.tokens import base_model
from tunehook.errors import (
    CostAboveLimit,
    FileNotFound,
    FileUnusable,
    IdempotencyMismatch,
    InvalidParameter,
    ModelNotFound,
    ModelUnknown,
    OverBudget,
)
from tunehook.files import ingest, token_counts
from tunehook.files.storage import SEEN_SECONDS
from tunehook.jobs import budget, cost, dataset_fit, upstream_choice
from tunehook.jobs.model_access import check_models, grader_models, is_tuned
from tunehook.jobs.upstream_choice import NOT_AVAILABLE, Offered
from tunehook.model.api_key import ApiKey
from tunehook.model.file import File
from tunehook.model.job import AT_UPSTREAM, FileRef, Job, JobSpec, Message, Stage
from tunehook.model.member import estimate_member
from tunehook.model.project import Money, day_of, month_of
from tunehook.model.record import REPEAT_SECONDS, new_id
from tunehook.openai_format.job_request import MAX_SEED, JobRequest
from tunehook.openai_format.models import base_models, shutdown_dates
from tunehook.openai_format.request_model import parse_as
from tunehook.store.deletion import READING_MARK
from tunehook.store.engine.commit import AlreadyThere, Missing, Occupied
from tunehook.store.engine.connection import Reading
from tunehook.store.files import FileRecord
from tunehook.store.jobs import IDEMPOTENCY_SECONDS, JobRecord
from tunehook.webhooks import event_types, publishing


async def submit(
    ctx: Context,
    caller: ApiKey,
    body: dict[str, Any],
    *,
    idempotency_key: str | None,
    sdk_retry: bool,
    offered: Offered | None = None,
) -> JobRecord:
    """Returns the accepted job, or the earlier one when this call repeats another.

    A repeat has the Idempotency-Key of an earlier call (24 h), or is an SDK's own retry of the same body by the same
    key (15 min). That is decided inside the commit that would make the job.
    """
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    by_body = ctx.store.jobs.by_body(caller.id, digest)
    # A retry may overtake its first call, which goes on when its client hangs up. So this call is a repeat of a job
    # that a retry makes from now on, and of none that a retry had made before.
    by_retry = ctx.store.jobs.by_retry(caller.id, digest)
    by_key = ctx.store.jobs.by_idempotency_key(caller.project, idempotency_key) if idempotency_key else None
    memories = [by_retry, by_key] if by_key else [by_retry]
    with ctx.store.reading_ahead(_read_by(ctx, caller, body, memories)):
        retried, mark = await ctx.store.jobs.remembered(by_retry), await ctx.mark()
        remember, recall = [(by_body, REPEAT_SECONDS)], [(by_retry, retried or "")]
        if sdk_retry:
            remember, recall = [*remember, (by_retry, REPEAT_SECONDS)], [(by_body, "")]
        if by_key:
            remember, recall = [*remember, (by_key, IDEMPOTENCY_SECONDS)], [(by_key, "")]
            earlier = await ctx.store.jobs.remembered(by_key)
            if earlier:
                await ctx.store.confirm()  # the first call may have been answered that it is not
                return _replayed(await ctx.store.jobs.read(earlier, caller.project), digest)
        request = parse_as(JobRequest, body)
        job = await prepare(ctx, caller, request, offered, digest, mark)
        try:
            record = await accept(ctx, job, remember=remember, recall=recall)
        except Missing as gone:  # deleted a moment ago
            raise FileNotFound(id=gone.key.rpartition(":")[2], param="training_file") from gone
    if sdk_retry and record.job.id != job.id:  # the first call may still be under way, and has to find the same job
        await ctx.store.jobs.remember(by_retry, record.job.id, REPEAT_SECONDS)
    return _replayed(record, digest)


def _read_by(ctx: Context, caller: ApiKey, body: dict[str, Any], memories: list[str]) -> list[Reading]:
    """Returns what `submit` will read if the body is good: one round trip instead of five."""
    store = ctx.store
    model, *files = (body.get(name) for name in ("model", "training_file", "validation_file"))
    readings = [store.jobs.remembering(key) for key in memories]
    readings += [READING_MARK, store.endpoints.reading_subscribed(caller.project)]
    readings += [FileRecord.reading(file_id) for file_id in files if isinstance(file_id, str)]
    return readings + ([store.models.reading_owners([model])] if isinstance(model, str) else [])


async def prepare(
    ctx: Context, caller: ApiKey, request: JobRequest, offered: Offered | None, digest: str, mark: str
) -> Job:
    """Returns the job of a request that fits, for `accept`. `digest`: of what asked for it; `mark`: of `ctx.mark`."""
    return await _job(ctx, caller, request, await _plan(ctx, caller, request, offered), digest, mark)


async def estimate(ctx: Context, caller: ApiKey, body: dict[str, Any], offered: Offered) -> Estimate:
    """Returns what the job would cost, and makes nothing. `offered`: asks each upstream which models it lists."""
    request = parse_as(JobRequest, body)
    plan = await _when_checked(ctx, request, await _plan(ctx, caller, request, offered))
    file = plan.training_file
    if file is None or file.dataset is None:
        why = "its bytes are not here, so its tokens cannot be counted; upload it here"
        raise FileUnusable(id=request.training_file, why=why, param="training_file")
    warnings = outlook(
        request.model,
        shutdown_date=shutdown_dates((await offered()).get(plan.upstream, [])).get(base_model(request.model)),
        not_available=await ctx.store.jobs.last_refusal(caller.project, plan.upstream) == NOT_AVAILABLE,
    )
    if plan.validation_file is not None:
        shared = await dataset_fit.shared_examples(ctx.files.storage, file, plan.validation_file)
        warnings += [shared] if shared else []
    counted = await token_counts.count(ctx.files, file, request.model)
    seconds = await cost.measured(ctx, plan.upstream, request)
    return cost.expected(request, file, counted, ctx.prices, ctx.rules(plan.upstream), warnings, seconds)


def _replayed(record: JobRecord, digest: str) -> JobRecord:
    """Returns the record if its job was made of the same body. Raises IdempotencyMismatch."""
    if record.job.request_sha256 != digest:
        raise IdempotencyMismatch
    return record


@dataclass(frozen=True)
class _Plan:
    """A request whose upstream and files were found fit. A file at the upstream has no record here."""

    upstream: str
    options: dict[str, Any] | None
    training: FileRef
    validation: FileRef | None
    training_file: File | None
    validation_file: File | None


async def _plan(ctx: Context, caller: ApiKey, request: JobRequest, offered: Offered | None) -> _Plan:
    upstream = await upstream_choice.choose(ctx, caller, request, offered)
    options = upstream_choice.check_request(ctx, request, upstream)
    if request.method and request.method.reinforcement:
        grader = request.method.reinforcement.grader.model_dump()
        await check_models(ctx, caller.project, grader_models(grader, "method.reinforcement.grader"))
    await _check_model(ctx, caller, request, upstream, offered)
    if request.callback_url is not None:
        ctx.webhooks.check_url(request.callback_url, "callback_url")
    training, training_file = await _file(ctx, caller, request.training_file, "training_file")
    validation = validation_file = None
    if request.validation_file is not None:
        validation, validation_file = await _file(ctx, caller, request.validation_file, "validation_file")
    elif request.kind == "reinforcement":
        raise InvalidParameter(param="validation_file", why="reinforcement needs a validation file as well")
    plan = _Plan(upstream, options, training, validation, training_file, validation_file)
    await _check_fit(ctx, request, plan)
    return plan


async def _check_fit(ctx: Context, request: JobRequest, plan: _Plan) -> None:
    """Raises FileUnusable for files that do not fit the job; unchecked ones are compared later."""
    reinforcement = request.method.reinforcement if request.method else None
    await dataset_fit.check(
        ctx.files.storage,
        plan.training_file,
        plan.validation_file,
        model=request.model,
        method=request.kind,
        grader=reinforcement.grader.model_dump() if reinforcement else None,
        rules=ctx.rules(plan.upstream),
    )


async def _when_checked(ctx: Context, request: JobRequest, plan: _Plan) -> _Plan:
    """Waits for the check of the files, for a request that needs the result. Raises FileNotChecked."""
    files = ((plan.training_file, "training_file"), (plan.validation_file, "validation_file"))
    if any(file is not None and file.status == "uploaded" for file, _ in files):
        training, validation = [file and await ingest.when_checked(ctx.files, file, param) for file, param in files]
        plan = replace(plan, training_file=training, validation_file=validation)
        await _check_fit(ctx, request, plan)
    return plan


async def _job(ctx: Context, caller: ApiKey, request: JobRequest, plan: _Plan, digest: str, mark: str) -> Job:
    asked = request.model_dump(exclude_none=True, exclude={"callback_url", "tunehook", "seed"})
    # A seed of our own where none is asked for: it identifies the job at an upstream that shows no metadata.
    seed = request.seed if request.seed is not None else secrets.randbelow(MAX_SEED)
    limited = ctx.store.projects.known(caller.project).budget is not None
    estimated = await _priced(ctx, request, plan, in_budget=limited)
    rules = ctx.rules(plan.upstream)
    return Job(
        id=new_id("ftjob-"),
        project=caller.project,
        key_id=caller.id,
        created_at=int(time.time()),
        spec=JobSpec(seed=seed, options=plan.options, **asked),
        upstream=plan.upstream,
        callback_url=request.callback_url,
        training=plan.training,
        validation=plan.validation,
        mark=mark,
        request_sha256=digest,
        price=cost.price_of(ctx.prices.find(request.model, request.kind, rules.kind)),
        deployment=rules.deployment,
        priority=(request.tunehook and request.tunehook.priority) or "normal",
        deploy=request.tunehook is None or request.tunehook.deploy is not False,
        estimate=cost.cost_of(estimated) if estimated else None,
        money=_money(request, plan, estimated) if limited else None,
        traceparent=telemetry.current(),
    )


def _money(request: JobRequest, plan: _Plan, estimated: Estimate | None) -> Money:
    limit = request.tunehook.max_cost_usd if request.tunehook else None
    unchecked = plan.training_file is not None and plan.training_file.status == "uploaded"
    return budget.wanted(estimated, limit, unchecked=unchecked)


async def _priced(ctx: Context, request: JobRequest, plan: _Plan, *, in_budget: bool) -> Estimate | None:
    """Returns the estimate if tokens are counted, or a limit or a budget needs them. Raises CostAboveLimit.

    In a budget, a limit that is stated is held where there is no estimate; a file that is not checked is priced later.
    """
    limit = request.tunehook.max_cost_usd if request.tunehook else None
    if limit is not None:
        plan = await _when_checked(ctx, request, plan)
    file = plan.training_file
    if file is None or file.dataset is None:
        if limit is not None and not in_budget:
            why = "a limit of cost is asked for, but the training file is not here, so its tokens cannot be counted"
            raise CostAboveLimit(why=why, param="tunehook.max_cost_usd")
        return None
    counted = token_counts.already_counted(file, request.model)
    if counted is None and limit is None and not in_budget:
        return None
    counted = counted or await token_counts.count(ctx.files, file, request.model)
    seconds = await cost.measured(ctx, plan.upstream, request)
    estimated = cost.expected(request, file, counted, ctx.prices, ctx.rules(plan.upstream), seconds=seconds)
    if estimated.cost_usd is not None or not in_budget:
        check_limit(estimated, limit)
    return estimated


def check_limit(estimated: Estimate, limit: float | None) -> None:
    """Raises CostAboveLimit for a cost above the limit, or that is not known."""
    if limit is not None and (estimated.cost_usd is None or estimated.cost_usd > limit):
        raise CostAboveLimit(why=_too_much(estimated, limit), param="tunehook.max_cost_usd")


def _too_much(found: Estimate, limit: float) -> str:
    if found.cost_usd is None:
        return f"a limit of cost is asked for, but the cost cannot be estimated. {' '.join(found.warnings)}".rstrip(".")
    return (
        f"it is estimated to cost {usd_text(found.cost_usd)} USD "
        f"({found.billed_tokens:,} billed tokens, {found.epochs} epochs, {_rate(found)}), "
        f"which is above the limit of {usd_text(limit)} USD"
    )


def _rate(found: Estimate) -> str:
    if found.usd_per_million_tokens is not None:
        return f"{found.usd_per_million_tokens} USD per million"
    return f"{found.usd_per_hour} USD an hour"


async def _check_model(
    ctx: Context, caller: ApiKey, request: JobRequest, upstream: str, offered: Offered | None
) -> None:
    """Refuses a model that is trained otherwise, and one that is known neither here nor at the upstream.

    A model of another project is answered like an unknown one. An upstream that does not answer with a list refuses
    no other. Raises ModelNotFound, InvalidParameter, ModelUnknown.
    """
    model, methods = request.model, ctx.prices.methods(request.model, ctx.rules(upstream).kind)
    if len(methods) == 1 and request.kind not in methods:
        why = f"{model} is trained by {' '.join(methods)} alone, not by {request.kind}"
        raise InvalidParameter(param="method.type" if request.method else "method", why=why)
    [owner] = await ctx.store.models.owners([model])
    if is_tuned(model) and owner != caller.project:
        raise ModelNotFound(id=model[:200], param="model")
    another = owner not in (None, caller.project)
    if not another and (methods or owner or offered is None):
        return
    listed = (await offered()).get(upstream, []) if offered else []
    if another or (listed and all(str(row["id"]) != model for row in listed)):
        why = ctx.prices.unknown(model, base_models(listed, ctx.prices))
        raise ModelUnknown(param="model", why=why, upstream=upstream)


async def _file(ctx: Context, caller: ApiKey, file_id: str, param: str) -> tuple[FileRef, File | None]:
    if file_id.startswith(AT_UPSTREAM):
        if not re.fullmatch(r"file-[A-Za-z0-9_-]{1,120}", file_id.removeprefix(AT_UPSTREAM)):
            raise InvalidParameter(param=param, why="after 'upstream:', write the file's id there, such as file-abc123")
        return FileRef(id=file_id, sha256="", bytes=0), None
    try:
        file = await ctx.store.files.read(file_id, caller.project)
    except FileNotFound as missing:
        raise InvalidParameter(f"{missing.message} ({param})", param=param) from missing
    if file.purpose != "fine-tune":
        raise FileUnusable(id=file_id, why=f"its purpose is {file.purpose!r}, not 'fine-tune'", param=param)
    if not await ctx.files.storage.exists(file_id, within=SEEN_SECONDS):
        raise FileUnusable(id=file_id, why="its content is no longer kept here; upload it again", param=param)
    return FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes), file


async def accept(
    ctx: Context, job: Job, *, remember: list[tuple[str, int]], recall: list[tuple[str, str]]
) -> JobRecord:
    """Accepts a job in one commit. Returns it, or the job that an earlier, identical call made.

    `remember`: (key, seconds) under which repeats of this call will find the job. `recall`: (key, job): this call is a
    repeat when the key holds another job than that.

    Raises LimitReached, OverBudget. Over a budget that says so, the job is accepted and waits for an operator.
    """
    limits, month = ctx.store.projects.known(job.project), month_of(job.created_at)
    amount = job.money.amount if job.money else None
    try:
        holds = budget.held(job, job.created_at) if amount is not None else job
        return await _accept(ctx, holds, remember, recall)
    except Occupied as full:
        refused = projects.refusal(full, limits, asked=amount or 0, month=month)
        if refused is None:
            raise
        if not isinstance(refused, OverBudget) or limits.over_budget == "refuse":
            raise refused from None
        why = projects.too_little(amount or 0, int(full.value), limits)
    # It shows `validating_files` until both files are checked; then its step asks the budget again.
    unchecked = await _is_unchecked(ctx, job)
    waits = job if unchecked else budget.awaiting(job, why, job.created_at)
    try:
        return await _accept(ctx, waits, remember, recall)
    except Occupied as full:
        raise projects.refusal(full, limits, asked=0, month=month) or full from None


async def _is_unchecked(ctx: Context, job: Job) -> bool:
    records = [await ctx.store.files.read_any(file.id) for file in job.files]
    return any(record is not None and record.file.status == "uploaded" for record in records)


async def _accept(ctx: Context, job: Job, remember: list[tuple[str, int]], recall: list[tuple[str, str]]) -> JobRecord:
    change = ctx.store.jobs.submission(job)
    change.guards += recall
    ctx.store.projects.admit(change, job, day_of(job.created_at))
    budget.book(ctx, change, None, job, ctx.store.projects.known(job.project).budget)
    for key, seconds in remember:
        change.do("SET", key, job.id, "EX", seconds)
    change.say(job.id, Message(created_at=job.created_at, message=f"Accepted fine-tuning job: {job.id}"))
    shutdown = ctx.prices.shutdown_date(job.spec.model, ctx.rules(job.upstream).kind)
    for warning in outlook(job.spec.model, shutdown_date=shutdown, not_available=False):
        change.say(job.id, Message(created_at=job.created_at, level="warn", message=warning))
    if job.training.upstream_id is None and (job.estimate is None or job.validation is not None):
        change.due(estimate_member(job.id), 0.0)
    await publishing.publish(ctx.webhooks, change, job, event_types.CREATED, now=job.created_at)
    if job.stage is Stage.WAITING:
        await budget.tell_awaiting(ctx, change, job, job.created_at)
    try:
        now_ms = await ctx.store.commit(change)
    except AlreadyThere as earlier:
        return await ctx.store.jobs.read(earlier.value, job.project)
    budget.audit(None, job)
    return JobRecord(job, 1, now_ms)
