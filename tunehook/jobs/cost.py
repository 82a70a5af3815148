"""Cost: estimates what a job will cost.

A request that needs the token count (an estimate, a limit of cost) waits for it. Other jobs are accepted without, and a
step of the worker adds their estimate.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tunehook.context import Context
from tunehook.dataset.checker import ADVISED_EXAMPLES
from tunehook.dataset.estimate import Estimate, by_rule, estimate_tokens
from tunehook.dataset.prices import Price as PriceRow
from tunehook.errors import Conflict, FileNotFound, LeaseTaken, UpstreamError
from tunehook.files import token_counts
from tunehook.jobs import budget, dataset_fit
from tunehook.model.file import Counted, File
from tunehook.model.job import Cost, FileRef, Job, Message, Price, Stage
from tunehook.model.member import estimate_member, job_member
from tunehook.openai_format.job_request import JobRequest
from tunehook.openai_format.request_model import parse_as
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step

log = logging.getLogger(__name__)

#: When the step comes again for a file whose check is not over, and for a job that another step works on.
UNCHECKED_SECONDS, BUSY_SECONDS = 20.0, 2.0


async def expected(
    ctx: Context, upstream: str, request: JobRequest, file: File, counted: Counted, warnings: Sequence[str] = ()
) -> Estimate:
    """Returns what the request will cost on this file at an upstream."""
    assert file.dataset is not None
    notes = []
    if file.dataset.examples < ADVISED_EXAMPLES:
        notes.append(f"{file.dataset.examples} examples; 50 to 100 are advised to begin with.")
    return estimate_tokens(
        file.dataset.examples,
        total=counted.total,
        trained=counted.trained,
        over=counted.over,
        model=request.model,
        method=request.kind,
        prices=ctx.prices,
        n_epochs=request.n_epochs,
        rules=ctx.rules(upstream),
        warnings=[*warnings, *notes, *by_rule(file.dataset.image_examples)],
        seconds=await _measured(ctx, upstream, request),
    )


async def _measured(ctx: Context, upstream: str, request: JobRequest) -> float | None:
    """Returns how long a million tokens took in earlier jobs there. None: it is not said, or costs nothing."""
    rules = ctx.rules(upstream)
    price = ctx.prices.find(request.model, request.kind, rules.kind) if rules.measures else None
    if price is None or price.usd_per_hour is None:
        return None
    try:
        rows = await ctx.upstreams[upstream].models()
    except UpstreamError as error:
        log.warning("no estimate: the models of %s cannot be listed: %s", upstream, error.message)
        return None
    told = next((row.get("seconds_per_million_tokens") for row in rows if row.get("id") == request.model), None)
    return float(told) if isinstance(told, int | float) and told > 0 else None


def cost_of(estimate: Estimate) -> Cost:
    """Returns the part of an estimate that a job keeps."""
    usd = None if estimate.cost_usd is None else float(estimate.cost_usd)
    return Cost(billed_tokens=estimate.billed_tokens, usd=usd)


def price_of(row: PriceRow | None) -> Price | None:
    """Returns the part of a price that a job keeps."""
    if row is None:
        return None
    return Price(
        usd_per_million_tokens=None if row.usd_per_million_tokens is None else float(row.usd_per_million_tokens),
        usd_per_hour=None if row.usd_per_hour is None else float(row.usd_per_hour),
        source=row.source,
        as_of=row.as_of.isoformat(),
    )


async def estimate_accepted(ctx: Context, job_id: str) -> None:
    """Runs one step: adds the estimate to an accepted job, and warns of shared examples."""
    member = estimate_member(job_id)

    async def _body(_: Lease) -> None:
        await ctx.store.plan(member, await _estimate(ctx, job_id))

    await run_step(ctx.store, member, _body)


async def _estimate(ctx: Context, job_id: str) -> float | None:
    """Returns the seconds until the next step; None when there is nothing more to do."""
    job = (await ctx.store.jobs.read(job_id)).job
    training = await _file(ctx, job.training, job.project)
    validation = await _file(ctx, job.validation, job.project) if job.validation else None
    files = [file for file in (training, validation) if file is not None]
    if any(file.status == "uploaded" for file in files):
        return UNCHECKED_SECONDS  # the check wakes this step
    if training is None or training.status == "error":
        return None
    if validation is not None:
        await _warn_of_shared_examples(ctx, job, training, validation)
    if job.estimate is not None or training.dataset is None:
        return None
    if not await ctx.files.storage.exists(training.id):
        return None
    request = parse_as(JobRequest, job.spec.model_dump(exclude_none=True, exclude={"options"}))
    counted = await token_counts.count(ctx.files, training, request.model)
    estimate = cost_of(await expected(ctx, job.upstream, request, training, counted))
    try:
        # Under the job's lease: a new revision while its create is under way would make the outcome unknown.
        async with ctx.store.lease(job_member(job_id)) as lease:
            record = await ctx.store.jobs.read(job_id)
            estimated = record.job.model_copy(update={"estimate": estimate})
            change = record.change(estimated, lease)
            if estimated.upstream_job_id and record.job.estimate is None:  # else its creation counts it
                budget.count_estimate(change, estimated)
            # Its own step may have found the lease taken. One that waits keeps its time: after a 429 that is 10 s.
            if record.job.stage not in (Stage.WAITING, Stage.SETTLED):
                change.wake(job_member(job_id))
            await ctx.store.commit(change)
    except (LeaseTaken, Conflict):
        return BUSY_SECONDS
    return None


async def _file(ctx: Context, ref: FileRef, project: str) -> File | None:
    """Returns the record of a file that lies here; None if it is the upstream's or was deleted."""
    if ref.upstream_id is not None:
        return None
    try:
        return await ctx.store.files.read(ref.id, project)
    except FileNotFound:
        return None


async def _warn_of_shared_examples(ctx: Context, job: Job, training: File, validation: File) -> None:
    shared = await dataset_fit.shared_examples(ctx.files.storage, training, validation)
    if shared:
        # The id makes a second run harmless: the log takes each id once.
        message = Message(created_at=job.created_at, level="warn", message=shared, upstream_event_id="shared-examples")
        await ctx.store.job_log.append(job.id, [message])
