"""Retrains: trains the data of a job again, at another upstream or on another model, once for each wish.

A wish is source job, upstream, model and options. The commit that accepts its job stores the job's id under it, so a
call that repeats it finds that job, also beside it and after a kill. `gpt-4.1-mini` and its dated name are one model:
the first wish is stored under the name without a date, one for another snapshot under its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass

from tunehook.context import Context
from tunehook.dataset.estimate import Estimate
from tunehook.errors import FileNotFound, FileUnusable, InvalidParameter, JobNotFound, RequestError, RetrainDiffers
from tunehook.jobs import acceptance, submission, upstream_choice
from tunehook.jobs.carrying_over import AUTO, Members, request_of
from tunehook.jobs.upstream_choice import Offered
from tunehook.model.api_key import ApiKey
from tunehook.model.job import FileRef, Job, LeftOut
from tunehook.openai_format.job_request import JobRequest
from tunehook.openai_format.request_model import parse_as
from tunehook.openai_format.retrains import DryRun, RetrainRequest
from tunehook.store.engine.commit import Missing
from tunehook.store.jobs import JobRecord
from tunehook.upstreams.options import plain_options


@dataclass(frozen=True)
class _Wish:
    """`held`: the id that the wish holds. `existing`: that job; None if there is none, or its record was deleted."""

    source: Job
    digest: str
    held: str
    existing: JobRecord | None

    def answers(self, asked: RetrainRequest) -> bool:
        """Whether the existing job is the answer: it succeeded, it runs, or it failed and no other try is wanted."""
        job = self.existing.job if self.existing else None
        return job is not None and not (asked.again and job.status in ("failed", "cancelled"))


async def retrain(ctx: Context, caller: ApiKey, job_id: str, asked: RetrainRequest, offered: Offered) -> JobRecord:
    """Returns the new job, or the one that the same wish made before.

    Raises JobNotFound, RetrainDiffers, and what `submission.submit` raises.
    """
    wish = await _wish(ctx, caller, job_id, asked)
    if wish.existing is not None and wish.answers(asked):
        await ctx.store.confirm()  # an earlier call may have been answered that it is not
        return _same(wish.source, wish.existing, asked)
    _refuse_deleted(wish, asked)
    body, left_out = await _body(ctx, wish.source, asked)
    job = await submission.prepare(ctx, caller, parse_as(JobRequest, body), offered, wish.digest, await ctx.mark())
    job = job.model_copy(update={"retrained_from": job_id, "left_out": left_out})
    try:
        guard = (ctx.store.jobs.by_wish(job_id, wish.digest), wish.held)
        record = await acceptance.accept(ctx, job, remember=[], recall=[guard])
    except Missing as gone:  # deleted a moment ago
        if gone.key.endswith(job_id):
            raise JobNotFound(id=job_id) from gone
        raise _lost(wish.source.training, "it was deleted") from gone
    if record.job.id == job.id:
        return record
    if not _is_of_model(record.job, asked.model, ctx.prices.family(asked.model, ctx.rules(asked.upstream).kind)):
        return await retrain(ctx, caller, job_id, asked, offered)  # another snapshot was wished for at the same moment
    return _same(wish.source, record, asked)


async def dry_run(ctx: Context, caller: ApiKey, job_id: str, asked: RetrainRequest, offered: Offered) -> DryRun:
    """Returns what `retrain` would do, and makes nothing. Raises JobNotFound, UnknownUpstream."""
    wish = await _wish(ctx, caller, job_id, asked)
    existing = wish.existing.job if wish.existing else None
    left_out: list[LeftOut] = []
    estimate: Estimate | None = None
    error: RequestError | None = None
    try:
        if wish.existing is not None and wish.answers(asked):
            _same(wish.source, wish.existing, asked)
        else:
            _refuse_deleted(wish, asked)
        body, left_out = await _body(ctx, wish.source, asked)
        estimate = await submission.estimate(ctx, caller, body, offered)
        submission.check_limit(estimate, asked.max_cost_usd)
    except RequestError as found:
        error = found
    creates = error is None and not wish.answers(asked)
    return DryRun(wish.source, existing, creates, left_out, estimate, error)


async def _wish(ctx: Context, caller: ApiKey, job_id: str, asked: RetrainRequest) -> _Wish:
    source = (await ctx.store.jobs.read(job_id, caller.project)).job
    upstream_choice.check_name(ctx, asked.upstream, "upstream")
    kind = ctx.rules(asked.upstream).kind
    family, options = ctx.prices.family(asked.model, kind), plain_options(kind, asked.model, asked.options or {})
    # The last is the form of earlier versions: as it was written.
    forms = [(family, options), (asked.model, options), (asked.model, asked.options or {})]
    digests = list(dict.fromkeys(_digest(asked.upstream, *form) for form in forms))
    keys = [ctx.store.jobs.by_wish(job_id, digest) for digest in digests]
    holding = dict(zip(digests, await asyncio.gather(*map(ctx.store.jobs.remembered, keys)), strict=True))
    for digest, held in holding.items():
        if held is None:
            continue
        try:
            existing = await ctx.store.jobs.read(held, caller.project)
        except JobNotFound:  # deleted by retention since
            return _Wish(source, digest, held, None)
        if _is_of_model(existing.job, asked.model, family):
            return _Wish(source, digest, held, existing)
    free = next(digest for digest, held in holding.items() if held is None)
    return _Wish(source, free, "", None)


def _digest(upstream: str, model: str, options: Members) -> str:
    wished = json.dumps([upstream, model, options], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(wished.encode()).hexdigest()


def _is_of_model(job: Job, model: str, family: str) -> bool:
    """Whether the job is of the model; by the dated name that its upstream shows, where it does."""
    had = job.seen.model if job.seen and job.spec.model == family else job.spec.model
    return model in (had, job.spec.model) or family in (model, had)


def _refuse_deleted(wish: _Wish, asked: RetrainRequest) -> None:
    """Raises InvalidParameter if the wish was carried out by a job whose record is gone: it was paid once."""
    if wish.held and wish.existing is None and not asked.again:
        why = f"this retrain was made before, as {wish.held}, which was deleted since. True trains, and pays, once more"
        raise InvalidParameter(param="again", why=why)


def _same(source: Job, record: JobRecord, asked: RetrainRequest) -> JobRecord:
    """Returns the job of an earlier call. Raises RetrainDiffers if this one asks for other hyperparameters."""
    spec, given = record.job.spec, asked.hyperparameters
    differs = asked.method is not None and spec.method != asked.method.model_dump(exclude_none=True)
    had = spec.asked
    if given is not None:
        differs |= not given.model_dump(exclude_none=True).items() <= had.items()
    if asked.n_epochs_if_auto is not None:
        # A number of the source's own, or that is asked for beside it, comes first.
        expected = {asked.n_epochs_if_auto, source.spec.asked.get("n_epochs"), given and given.n_epochs}
        differs |= had.get("n_epochs", AUTO) not in expected - {AUTO}
    if differs:
        raise RetrainDiffers(job=record.job.id)
    return record


async def _body(ctx: Context, source: Job, asked: RetrainRequest) -> tuple[Members, list[LeftOut]]:
    why = await _why_not_here(ctx, source, source.training)
    if why is not None:
        raise _lost(source.training, why)
    lost = await _why_not_here(ctx, source, source.validation) if source.validation else None
    if source.validation is None and source.seen is not None and source.seen.validation_file:
        lost = _at_the_upstream(source)
    kind, source_kind = ctx.rules(asked.upstream).kind, ctx.rules(source.upstream).kind
    return request_of(source, asked, kind=kind, source_kind=source_kind, lost_validation=lost)


async def _why_not_here(ctx: Context, source: Job, file: FileRef) -> str | None:
    """Returns why a dataset cannot be used again; None if it can."""
    if file.upstream_id is not None:
        return _at_the_upstream(source)
    try:
        await ctx.store.files.read(file.id, source.project)
    except FileNotFound:
        return "it was deleted, or its time here was over"
    return None if await ctx.files.storage.exists(file.id) else "its content is no longer kept here"


def _at_the_upstream(source: Job) -> str:
    body = {"upstream": source.upstream, "upstream_job_id": source.upstream_job_id, "keep_dataset": True}
    return (
        f"it is not here, but at the upstream '{source.upstream}' alone. "
        f"Bring it home first: POST /v1/fine_tuning/jobs/import {json.dumps(body)}"
    )


def _lost(file: FileRef, why: str) -> FileUnusable:
    hint = "" if file.upstream_id else "; upload it again, and train on it with POST /v1/fine_tuning/jobs"
    return FileUnusable(id=file.id, why=why + hint)
