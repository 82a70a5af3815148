"""Approvals: holds the money of a job whose file is checked; lets an operator decide on one that does not fit."""

from __future__ import annotations

import logging

from tunehook import projects
from tunehook.context import Context
from tunehook.errors import NotAwaiting
from tunehook.jobs import budget
from tunehook.jobs.finishing import settle
from tunehook.model.job import JobError, Message, Stage
from tunehook.model.member import estimate_member
from tunehook.model.project import millionths, month_after, month_of
from tunehook.store.engine.commit import Occupied, optimistic_update
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord

log = logging.getLogger("tunehook.audit")

#: When a job comes again that awaits approval, or whose tokens are not counted yet: both wake it.
AGAIN_SECONDS, UNCOUNTED_SECONDS = 3600.0, 60.0


async def hold_money(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Holds a job's money in the commit by which it leaves stage accepted, once its tokens are counted.

    A job that does not fit waits for an operator, or fails, as its project says.
    """
    job = record.job
    assert job.money is not None
    amount = job.money.amount
    if amount is None and job.estimate is None and await ctx.store.is_planned(estimate_member(job.id)):
        await ctx.store.commit(record.change(job, lease).due(record.member, UNCOUNTED_SECONDS))
        return False
    if amount is None and (job.estimate is None or job.estimate.usd is None):
        message = "Its project has a budget, and its cost cannot be estimated. State tunehook.max_cost_usd."
        error = JobError(code="no_estimate", message=message, param="tunehook.max_cost_usd")
        await settle(ctx, record, "failed", lease=lease, error=error)
        return True
    if amount is None and job.estimate is not None and job.estimate.usd is not None:
        amount = millionths(job.estimate.usd)
    job = job.model_copy(update={"money": job.money.model_copy(update={"amount": amount})})
    limits = await ctx.store.projects.read(job.project)
    holds = budget.held(job.moved(Stage.UPLOADING), record.now)
    change = record.change(holds, lease).due(record.member, 20.0)
    budget.book(ctx, change, record.job.money, holds, limits.budget)
    try:
        await ctx.store.commit(change)
    except Occupied as full:
        why = projects.too_little(amount or 0, int(full.value), limits)
        if limits.over_budget == "refuse":
            renews = month_after(month_of(record.now))
            message = f"The project's budget does not allow this job: {why}. It renews on {renews} (UTC)."
            error = JobError(code="insufficient_quota", message=message)
            await settle(ctx, record, "failed", lease=lease, error=error)
            return True
        waits = budget.awaiting(job, why, record.now)
        change = record.change(waits, lease).due(record.member, AGAIN_SECONDS)
        budget.book(ctx, change, record.job.money, waits)
        await budget.tell_awaiting(ctx, change, waits, record.now)
        await ctx.store.commit(change)
        budget.audit(record.job.money, waits)
        return False
    budget.audit(record.job.money, holds)
    return True


async def still_awaits(ctx: Context, record: JobRecord) -> bool:
    """Lets a job wait for its operator. Nothing else moves it."""
    await ctx.store.plan(record.member, AGAIN_SECONDS)
    return False


@optimistic_update
async def approve(ctx: Context, job_id: str, *, by: str) -> JobRecord:
    """Lets a job go on whose project's budget did not allow it; holds its money. `by`: who decided, for the log.

    Raises JobNotFound, NotAwaiting.
    """
    record = await _awaiting(ctx, job_id)
    job = budget.held(record.job.moved(Stage.UPLOADING), record.now)
    # `wake` too: a step of the waiting job may be under way, and plan it for an hour later.
    change = record.change(job).due(record.member, 0.0).wake(record.member)
    budget.book(ctx, change, record.job.money, job)
    change.say(job.id, Message(created_at=record.now, message="An operator approved this job."))
    await ctx.store.commit(change)
    budget.audit(record.job.money, job, by)
    return await ctx.store.jobs.read(job_id)


@optimistic_update
async def reject(ctx: Context, job_id: str, *, by: str) -> JobRecord:
    """Fails a job whose project's budget did not allow it. `by`: who decided, for the log.

    Raises JobNotFound, NotAwaiting.
    """
    record = await _awaiting(ctx, job_id)
    error = JobError(code="approval_rejected", message="An operator did not approve the cost of this job.")
    await settle(ctx, record, "failed", error=error)
    log.info("job %s rejected by %s", job_id, by, extra={"fields": {"job": job_id, "by": by}})
    return await ctx.store.jobs.read(job_id)


async def _awaiting(ctx: Context, job_id: str) -> JobRecord:
    record = await ctx.store.jobs.read(job_id)
    money = record.job.money
    if record.job.stage is not Stage.WAITING or money is None or money.state != "awaiting":
        raise NotAwaiting(id=job_id, why=f"its stage is {record.job.stage.value}")
    return record
