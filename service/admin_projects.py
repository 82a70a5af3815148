"""/v1/admin/projects and /v1/admin/jobs: limits, budgets and approvals, for admin keys."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from service.answers import job_shown
from service.request_log import log_admin
from service.requests import caller_of, context_of, json_object, known_only
from tunehook import projects
from tunehook.context import Context
from tunehook.jobs import approvals
from tunehook.model.project import NO_LIMITS, ProjectSettings, dollars, month_after, month_of
from tunehook.openai_format.lists import page_object
from tunehook.openai_format.request_model import Strict, parse_as

Count = Annotated[int, Field(ge=0, le=10**9)]
#: Up to 9 billion dollars, of which sums in millionths are exact in Redis' scripts too.
Usd = Annotated[float, Field(ge=0, le=9e9, allow_inf_nan=False)]


class SettingsRequest(Strict):
    """Null takes a limit away."""

    nullable = frozenset(set(ProjectSettings.model_fields) - {"over_budget"})

    unsettled_jobs: Count | None = None
    jobs_per_day: Count | None = None
    stored_bytes: Annotated[int, Field(ge=0, le=10**15)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=10**6)] | None = None
    streams: Count | None = None
    monthly_budget_usd: Usd | None = None
    over_budget: Literal["refuse", "hold"] | None = None


async def list_(request: web.Request) -> web.Response:
    """Lists every project that ever had a key, a job, a webhook endpoint or a limit."""
    known_only(request)
    ctx = context_of(request)
    limits = await ctx.store.projects.all()
    data = [await _object(ctx, name, limits.get(name, NO_LIMITS)) for name in await projects.names(ctx.store)]
    return web.json_response(page_object(data, has_more=False))


async def retrieve(request: web.Request) -> web.Response:
    ctx, project = context_of(request), request.match_info["project"]
    return web.json_response(await _object(ctx, project, await ctx.store.projects.read(project)))


async def change(request: web.Request) -> web.Response:
    """Sets and takes away limits, also of a project that has no key yet."""
    ctx, project = context_of(request), request.match_info["project"]
    await projects.check_name(ctx.store, project)
    asked = parse_as(SettingsRequest, await json_object(request))
    changes = asked.model_dump(exclude_unset=True)
    limits = await projects.change(ctx.store, project, changes)
    log_admin(request, "limits changed", project=project, changes=changes)
    return web.json_response(await _object(ctx, project, limits))


async def approve(request: web.Request) -> web.Response:
    ctx, job_id = context_of(request), request.match_info["fine_tuning_job_id"]
    return web.json_response(job_shown(await approvals.approve(ctx, job_id, by=caller_of(request).id)))


async def reject(request: web.Request) -> web.Response:
    ctx, job_id = context_of(request), request.match_info["fine_tuning_job_id"]
    return web.json_response(job_shown(await approvals.reject(ctx, job_id, by=caller_of(request).id)))


async def _object(ctx: Context, project: str, limits: ProjectSettings) -> dict[str, Any]:
    now = int(time.time())
    used = await projects.usage(ctx.store, project, limits, now=now)
    running = [one for one in await ctx.store.deployments.live() if one.project == project]
    budget, month = limits.budget, month_of(now)
    return {
        "object": "project",
        "id": project,
        "limits": limits.model_dump(include=set(ProjectSettings.model_fields)),
        "usage": {
            "month": month,
            "renews_on": month_after(month).isoformat(),
            "held_usd": dollars(used.held),
            "spent_usd": dollars(used.spent),
            "left_usd": None if budget is None else dollars(max(0, budget - used.held - used.spent)),
            "unsettled_jobs": used.unsettled,
            "jobs_today": used.today,
            "deployments_usd_per_hour": sum((one.price and one.price.usd_per_hour) or 0.0 for one in running),
        },
        "awaiting_approval": used.awaiting,
    }
