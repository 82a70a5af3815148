"""Budgets: how much money a job holds, and what becomes of it at the job's end.

Money is held in the commit that accepts a job, or, if its file was not checked yet, in the one by which it leaves
stage accepted. It becomes money spent in the commit that ends the job. Both are of the month in which it was held.
"""

from __future__ import annotations

import logging
import math

from tunehook.context import Context
from tunehook.dataset.estimate import Estimate
from tunehook.dataset.prices import usd_text
from tunehook.errors import NoEstimate
from tunehook.model.job import AWAITING, Job, Message, Stage, Waiting
from tunehook.model.project import Money, dollars, millionths, month_of
from tunehook.store import tally
from tunehook.store.engine.commit import Change
from tunehook.webhooks import event_types, publishing

log = logging.getLogger("tunehook.audit")

#: The upstream has not begun to train a job in such a state: one that is cancelled then has cost nothing.
_NOT_BEGUN = frozenset({"validating_files", "queued", "created", "pending"})


def wanted(estimate: Estimate | None, limit: float | None, *, unchecked: bool) -> Money:
    """Returns the money that a new job of a project with a budget asks for. Raises NoEstimate.

    `limit`: what the request states as the most it may cost; held where there is no price. `unchecked`: the training
    file's check is not over, so the amount is known later.
    """
    if estimate is not None and estimate.cost_usd is not None:
        return Money(state="wanted", amount=millionths(estimate.cost_usd))
    if limit is not None:
        return Money(state="wanted", amount=millionths(limit))
    if unchecked:
        return Money(state="wanted")
    why = "there is no price for its model" if estimate else "its training file is not here, so its tokens are unknown"
    raise NoEstimate(why=why, param="tunehook.max_cost_usd")


def book(ctx: Context, change: Change, before: Money | None, job: Job, limit: int | None = None) -> None:
    """Adds to the change that writes `job` what it changes of its project's money and of what awaits approval.

    `before`: its money as the record has it. `limit`: the budget, in millionths; Occupied if it has less left.
    """
    after = job.money
    if after is None or after == before:
        return
    held, spent = after.held - (before.held if before else 0), after.spent - (before.spent if before else 0)
    if held or spent:
        ctx.store.projects.account(change, job, after.month, held=held, spent=spent, budget=limit)
    if after.state == "awaiting":
        ctx.store.projects.await_approval(change, job)
    elif before is not None and before.state == "awaiting":
        ctx.store.projects.decided(change, job)


def held(job: Job, now: int) -> Job:
    """Returns the job with its money held, of the month of `now` (unix seconds)."""
    assert job.money is not None
    return job.model_copy(update={"money": job.money.model_copy(update={"state": "held", "month": month_of(now)})})


def awaiting(job: Job, why: str, now: int) -> Job:
    """Returns the job as it waits for an operator. `why`: the budget in words."""
    assert job.money is not None
    reason = f"The project's budget does not allow this job: {why}. It waits for an operator's approval."
    # A time that is not shown: earlier versions cannot read a record without one.
    waiting = Waiting(code=AWAITING, reason=reason, since=now, retry_at=now + 3600, resume=Stage.UPLOADING)
    money = job.money.model_copy(update={"state": "awaiting"})
    return job.moved(Stage.WAITING, waiting=waiting, money=money)


async def tell_awaiting(ctx: Context, change: Change, job: Job, now: int) -> None:
    """Adds to the change by which `job` awaits approval its log entry and its webhook event."""
    assert job.waiting is not None
    change.say(job.id, Message(created_at=now, level="warn", message=f"Waiting: {job.waiting.reason}"))
    await publishing.publish(ctx.webhooks, change, job, event_types.WAITING, now=now)


def closed(before: Job, job: Job) -> Job:
    """Returns the ended `job` with its money spent; `before`: the job before its end."""
    money = before.money
    if money is None or money.state == "spent":
        return job
    spent = _spent(before, job) if money.state == "held" else 0
    return job.model_copy(update={"money": money.model_copy(update={"state": "spent", "spent": spent})})


def corrected(job: Job) -> Job:
    """Returns an ended job with its money by the upstream's count, which came late."""
    spent = _counted(job)
    if job.money is None or not job.money.month or spent is None:
        return job
    return job.model_copy(update={"money": job.money.model_copy(update={"spent": spent})})


def count_estimate(change: Change, job: Job) -> None:
    """Adds the estimate of a job that the upstream has to the metrics."""
    if job.estimate is not None and job.estimate.usd is not None:
        tally.count(change, tally.ESTIMATED_USD, (job.upstream, job.project), millionths(job.estimate.usd))


def count_spent(change: Change, before: Job, job: Job) -> None:
    """Adds trained tokens and their price to the metrics; not an import's, which was not created from here."""
    if not job.mark:
        return
    whose = job.upstream, job.project
    tokens, spent = [now - then for now, then in zip(_trained(job), _trained(before), strict=True)]
    tally.count(change, tally.TRAINED_TOKENS, whose, tokens)
    tally.count(change, tally.SPENT_USD, whose, spent)


def _trained(job: Job) -> tuple[int, int]:
    """Returns the tokens of an ended job, and their price in millionths; 0 while the upstream has not counted."""
    tokens = job.seen.trained_tokens if job.seen and job.status else None
    return tokens or 0, (_counted(job) or 0) if tokens else 0


def audit(before: Money | None, job: Job, by: str = "") -> None:
    """Logs a use of money, after its commit: whose, how much, for which job. `by`: the operator's key."""
    after = job.money
    if after is None or after == before or after.state == "wanted":
        return
    usd = dollars(after.spent if after.state == "spent" else after.amount or 0)
    fields = {"job": job.id, "project": job.project, "key": job.key_id, "money": after.state, "usd": usd}
    fields |= {"month": after.month} if after.month else {}
    fields |= {"by": by} if by else {}
    whose = f"{job.project}/{job.key_id}" + (f", by {by}" if by else "")
    log.info("money %s: %s USD, job %s (%s)", after.state, usd_text(usd), job.id, whose, extra={"fields": fields})


def _spent(before: Job, job: Job) -> int:
    """Returns what the job has cost, in millionths: by the upstream's count, or what it held where there is none."""
    counted = _counted(job)
    if counted is not None:
        return counted
    never_began = before.seen is None or before.seen.status in _NOT_BEGUN
    if not job.upstream_job_id or job.status == "failed" or (job.status == "cancelled" and never_began):
        return 0
    return before.money.held if before.money else 0


def _counted(job: Job) -> int | None:
    tokens = job.seen.trained_tokens if job.seen else None
    a_million = job.price.usd_per_million_tokens if job.price else None
    return None if tokens is None or a_million is None else math.ceil(round(tokens * a_million, 6))
