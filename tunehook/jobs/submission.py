"""Submission: turns a request into an accepted job, or refuses it before anything is stored."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import Any

from tunehook import telemetry
from tunehook.context import Context
from tunehook.dataset.estimate import Estimate, outlook
from tunehook.dataset.prices import usd_text
from tunehook.dataset.tokens import base_model
from tunehook.errors import CostAboveLimit, FileNotFound, FileUnusable, IdempotencyMismatch
from tunehook.files import token_counts
from tunehook.jobs import budget, cost, dataset_fit
from tunehook.jobs.acceptance import accept
from tunehook.jobs.planning import Plan, planned, when_checked
from tunehook.jobs.upstream_choice import NOT_AVAILABLE, Offered
from tunehook.model.api_key import ApiKey
from tunehook.model.job import Job, JobSpec
from tunehook.model.project import Money
from tunehook.model.record import REPEAT_SECONDS, new_id
from tunehook.openai_format.job_request import MAX_SEED, JobRequest
from tunehook.openai_format.models import shutdown_dates
from tunehook.openai_format.request_model import parse_as
from tunehook.store.deletion import READING_MARK
from tunehook.store.engine.commit import Missing
from tunehook.store.engine.connection import Reading
from tunehook.store.files import FileRecord
from tunehook.store.jobs import IDEMPOTENCY_SECONDS, JobRecord


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


async def estimate(ctx: Context, caller: ApiKey, body: dict[str, Any], offered: Offered) -> Estimate:
    """Returns what the job would cost, and makes nothing. `offered`: asks each upstream which models it lists."""
    request = parse_as(JobRequest, body)
    plan = await when_checked(ctx, request, await planned(ctx, caller, request, offered))
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
    return await cost.expected(ctx, plan.upstream, request, file, counted, warnings)


def _replayed(record: JobRecord, digest: str) -> JobRecord:
    """Returns the record if its job was made of the same body. Raises IdempotencyMismatch."""
    if record.job.request_sha256 != digest:
        raise IdempotencyMismatch
    return record


async def prepare(
    ctx: Context, caller: ApiKey, request: JobRequest, offered: Offered | None, digest: str, mark: str
) -> Job:
    """Returns the job of a request that fits, for `accept`. `digest`: of what asked for it; `mark`: of `ctx.mark`."""
    plan = await planned(ctx, caller, request, offered)
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
        priority=request.ours.priority or "normal",
        deploy=request.ours.deploy is not False,
        estimate=cost.cost_of(estimated) if estimated else None,
        money=_money(request, plan, estimated) if limited else None,
        traceparent=telemetry.current(),
    )


def _money(request: JobRequest, plan: Plan, estimated: Estimate | None) -> Money:
    unchecked = plan.training_file is not None and plan.training_file.status == "uploaded"
    return budget.wanted(estimated, request.ours.max_cost_usd, unchecked=unchecked)


async def _priced(ctx: Context, request: JobRequest, plan: Plan, *, in_budget: bool) -> Estimate | None:
    """Returns the estimate if tokens are counted, or a limit or a budget needs them. Raises CostAboveLimit.

    In a budget, a limit that is stated is held where there is no estimate; a file that is not checked is priced later.
    """
    limit = request.ours.max_cost_usd
    if limit is not None:
        plan = await when_checked(ctx, request, plan)
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
    estimated = await cost.expected(ctx, plan.upstream, request, file, counted)
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
