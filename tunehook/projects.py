"""Projects: changes their limits, and says in words which limit refused a request."""

from __future__ import annotations

import re
from dataclasses import replace

from tunehook.dataset.prices import usd_text
from tunehook.errors import InvalidParameter, LimitReached, OverBudget, RequestError
from tunehook.model.project import ProjectSettings, day_of, dollars, month_after, month_of
from tunehook.store.engine.commit import Occupied, optimistic_update
from tunehook.store.projects import Projects, Usage
from tunehook.store.store import Store
from tunehook.wording import did_you_mean

#: No project may be called like another one's index.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_WORDS = {
    "unsettled_jobs": ("unsettled jobs", "Wait until one has ended, or cancel one."),
    "jobs_per_day": ("jobs a day", "The next day begins at 00:00 UTC."),
}


async def names(store: Store) -> list[str]:
    """Returns every project that ever had a key, a job, a webhook endpoint or a limit."""
    return sorted({*await store.api_keys.projects(), *await store.projects.all()})


async def check_name(store: Store, project: str) -> str:
    """Returns, for a new project, a question that names the nearest other one; else "".

    Raises InvalidParameter for a new name that is malformed: it becomes part of the names of keys.
    """
    known = await names(store)
    if project in known:
        return ""
    if not NAME.fullmatch(project):
        why = "it must have 1 to 64 letters, digits, '.', '_' and '-', and begin with a letter or digit"
        raise InvalidParameter(param="project", why=why)
    return did_you_mean(project, known)


@optimistic_update
async def change(store: Store, project: str, changes: dict[str, object]) -> ProjectSettings:
    """Changes the limits that are given; None takes one away. Holds from the next request on."""
    before = await store.projects.read(project)
    after = ProjectSettings.model_validate(before.model_dump() | changes)
    return before if after == before else await store.projects.replace(project, before, after)


async def usage(store: Store, project: str, limits: ProjectSettings, *, now: int) -> Usage:
    """Returns what the project uses of its limits. `now`: unix seconds.

    Without a budget no money is accounted to it, and what its jobs of this month have cost counts as spent.
    """
    used = await store.projects.usage(project, limits, day=day_of(now), month=month_of(now))
    if limits.budget is not None:
        return used
    return replace(used, spent=(await store.jobs.money(project, now))["spent"])


def refusal(full: Occupied, limits: ProjectSettings, *, asked: int, month: str) -> RequestError | None:
    """Returns the answer to a job that a limit refused; None if it was no limit. `asked`: millionths of a dollar."""
    name = Projects.limit_of(full)
    if name == "monthly_budget_usd":
        return OverBudget(why=too_little(asked, int(full.value), limits), renews=month_after(month).isoformat())
    if name is None:
        return None
    what, then = _WORDS[name]
    return LimitReached(most=f"{getattr(limits, name):,}", what=what, then=then)


def too_little(asked: int, left: int, limits: ProjectSettings) -> str:
    """Says in words that a budget has less left than a job may cost. Amounts in millionths of a dollar."""
    return (
        f"it may cost {usd_text(dollars(asked))} USD, and {usd_text(dollars(max(0, left)))} "
        f"of {usd_text(limits.monthly_budget_usd or 0)} USD are left this month"
    )
