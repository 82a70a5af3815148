"""`tunehook projects list|show|set|approve|reject`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from cyclopts import App, Parameter

from cli import local_store
from cli.failures import AskedWrongly
from cli.lines import say, tell
from cli.options import AsJson
from cli.terminal import print_rows, wrapped
from tunehook import projects, settings
from tunehook.context import Context, open_context
from tunehook.dataset.prices import usd_text
from tunehook.errors import JobNotFound, TunehookError
from tunehook.jobs import approvals
from tunehook.model.project import NO_LIMITS, ProjectSettings, dollars, month_after, month_of
from tunehook.wording import did_you_mean

app = App(
    name="projects",
    help="Set limits and budgets of projects, and decide on jobs beyond them.",
    help_epilogue="A budget of 500 USD a month:\n\n    tunehook projects set search --monthly-budget-usd 500",
)
#: As in the API.
MOST, MOST_USD = {"stored_bytes": 10**15, "requests_per_minute": 10**6}, 9_000_000_000
Limit = Annotated[str | None, Parameter(help="a number, or 'none' to take the limit away")]


class ProjectUnknown(TunehookError):
    """There is no project '{name}': it never had a key, a job or a limit.{hint} `tunehook projects list` shows all."""


class NotALimit(AskedWrongly):
    """'{text}' is no limit for --{name}. Write a {kind} from {least} to {most:,}, or 'none'."""


class NoChange(AskedWrongly):
    """Nothing would be changed. Give a limit, such as --monthly-budget-usd 500."""


class NoSuchJob(TunehookError):
    """There is no job '{id}'. `tunehook projects show PROJECT` names those that wait for approval."""


@app.default
@app.command(name="list")
async def list_projects(*, as_json: AsJson = False) -> int:
    """List projects with their limits, and what they use of them this month (UTC)."""
    async with local_store.opened() as (store, _):
        limits, names = await store.projects.all(), await projects.names(store)
        now = int(time.time())
        rows = [(name, limits.get(name, NO_LIMITS)) for name in names]
        found = [(name, limit, await projects.usage(store, name, limit, now=now)) for name, limit in rows]
    if as_json:
        told = [
            {
                "id": name,
                "limits": limit.model_dump(),
                "held_usd": dollars(used.held),
                "spent_usd": dollars(used.spent),
                "awaiting_approval": used.awaiting,
            }
            for name, limit, used in found
        ]
        tell(json.dumps(told, indent=2))
        return 0
    print_rows(
        ("PROJECT", "BUDGET", "HELD", "SPENT", "AWAITING", "OTHER LIMITS"),
        [
            (
                name,
                _budget(limit),
                *(f"{dollars(money):,.2f}" for money in (used.held, used.spent)),
                len(used.awaiting),
                _others(limit),
            )
            for name, limit, used in found
        ],
    )
    return 0


def _budget(limit: ProjectSettings) -> str:
    return "-" if limit.monthly_budget_usd is None else f"{limit.monthly_budget_usd:,.2f}"


@app.command
async def show(project: str, /) -> int:
    """Show a project's limits, its month, and the jobs that wait for approval.

    Args:
        project: its name
    """
    async with local_store.opened() as (store, _):
        if project not in (known := await projects.names(store)):
            raise ProjectUnknown(name=project, hint=did_you_mean(project, known))
        limits, now = await store.projects.read(project), int(time.time())
        used = await projects.usage(store, project, limits, now=now)
    month = month_of(now)
    tell(f"project:  {project}")
    if limits.budget is None:
        tell("budget:   none")
    else:
        left = dollars(max(0, limits.budget - used.held - used.spent))
        tell(f"budget:   {usd_text(dollars(limits.budget))} USD a month", end="; ")
        tell(f"{usd_text(left)} left until {month_after(month)} (UTC)")
        tell(f"          a job beyond it {'waits for approval' if limits.over_budget == 'hold' else 'is refused'}")
    tell(f"{month}:  {usd_text(dollars(used.held))} USD held, {usd_text(dollars(used.spent))} USD spent")
    tell(wrapped(f"limits:   {_others(limits) or 'none'}", indent=10))
    for job_id in used.awaiting:
        tell(f"waits:    {job_id}")
    if used.awaiting:
        say("`tunehook projects approve JOB` lets such a job go on, and `reject` fails it.")
    return 0


@app.command(name="set")
async def set_limits(
    project: str,
    /,
    *,
    monthly_budget_usd: Limit = None,
    over_budget: Literal["refuse", "hold"] | None = None,
    unsettled_jobs: Limit = None,
    jobs_per_day: Limit = None,
    stored_bytes: Limit = None,
    requests_per_minute: Limit = None,
    streams: Limit = None,
) -> int:
    """Set or take away limits of a project, from its next request on. What is left out stays.

    Args:
        project: its name; it may have no key yet
        over_budget: refuse a job beyond the budget, or hold it for an operator's approval
    """
    given = {
        "unsettled_jobs": unsettled_jobs,
        "jobs_per_day": jobs_per_day,
        "stored_bytes": stored_bytes,
        "requests_per_minute": requests_per_minute,
        "streams": streams,
    }
    changes: dict[str, object] = {name: _whole(name, text) for name, text in given.items() if text is not None}
    if monthly_budget_usd is not None:
        changes["monthly_budget_usd"] = _usd(monthly_budget_usd)
    if over_budget is not None:
        changes["over_budget"] = over_budget
    if not changes:
        raise NoChange
    async with local_store.opened() as (store, _):
        if hint := await projects.check_name(store, project):
            say(f"{project} is a new project.{hint}")
        await projects.change(store, project, changes)
    return await show(project)


@app.command
async def approve(job: str, /) -> int:
    """Let a job go on that its project's budget does not allow.

    Args:
        job: its id
    """
    async with _of_a_job(job) as ctx:
        await approvals.approve(ctx, job, by="tunehook projects")
    tell(f"{job} goes on; its money is held, also beyond the budget.")
    return 0


@app.command
async def reject(job: str, /) -> int:
    """Fail a job that its project's budget does not allow.

    Args:
        job: its id
    """
    async with _of_a_job(job) as ctx:
        await approvals.reject(ctx, job, by="tunehook projects")
    tell(f"{job} has failed (approval_rejected).")
    return 0


@asynccontextmanager
async def _of_a_job(job_id: str) -> AsyncIterator[Context]:
    url, _ = local_store.find()
    async with open_context(settings.load().model_copy(update={"redis_url": url})) as ctx:
        try:
            yield ctx
        except JobNotFound:
            raise NoSuchJob(id=job_id[:64]) from None


def _others(limits: ProjectSettings) -> str:
    names = ("unsettled_jobs", "jobs_per_day", "stored_bytes", "requests_per_minute", "streams")
    return ", ".join(f"{name} {getattr(limits, name):,}" for name in names if getattr(limits, name) is not None)


def _whole(name: str, text: str) -> int | None:
    if text == "none":
        return None
    least, most = int(name == "requests_per_minute"), MOST.get(name, 10**9)
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or not least <= int(text) <= most:
        raise NotALimit(text=text[:40], name=name.replace("_", "-"), kind="whole number", least=least, most=most)
    return int(text)


def _usd(text: str) -> float | None:
    if text == "none":
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= MOST_USD:
        raise NotALimit(text=text[:40], name="monthly-budget-usd", kind="number", least=0, most=MOST_USD)
    return amount
