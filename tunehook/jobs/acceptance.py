"""Acceptance: the one commit that accepts a job, within its project's limits and budget."""

from __future__ import annotations

from tunehook import projects
from tunehook.context import Context
from tunehook.dataset.estimate import outlook
from tunehook.errors import OverBudget
from tunehook.jobs import budget
from tunehook.model.job import Job, Message, Stage
from tunehook.model.member import estimate_member
from tunehook.model.project import day_of, month_of
from tunehook.store.engine.commit import AlreadyThere, Occupied
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing


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
