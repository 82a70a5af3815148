"""/v1/summary: a project at a glance, from counts that the commits keep."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from service.answers import json_response
from service.models import CATALOG, offered
from service.requests import caller_of, context_of, known_only
from tunehook.openai_format import models

#: Upstream → the day from which it takes no new job, where its vendor has said one.
TRAINING_ENDS = {"openai": "2027-01-06"}


async def retrieve(request: web.Request) -> web.Response:
    known_only(request)
    ctx, caller = context_of(request), caller_of(request)
    now = await ctx.store.now_ms() // 1000
    stages, at_upstreams = await ctx.store.jobs.counts(caller.project, list(ctx.upstreams))
    money = await ctx.store.jobs.money(caller.project, now)
    lists, base = await request.app[CATALOG].all(ctx.upstreams), await offered(request)
    upstreams = []
    for name, upstream in ctx.upstreams.items():
        hold = await ctx.store.upstreams.held(name)
        days = models.shutdown_dates(lists.get(name, []))
        upstreams.append(
            {
                "name": name,
                "kind": upstream.kind,
                "jobs": at_upstreams[name],
                "hold": {"code": hold.code, "reason": hold.reason, "until": hold.until} if hold else None,
                "training_ends": TRAINING_ENDS.get(name),
                "shutdown_dates": {model: day for model, day in days.items() if model in base},
            }
        )
    deployments = [one for one in await ctx.store.deployments.live() if one.project == caller.project]
    return json_response(
        {
            "object": "summary",
            "key": {
                "id": caller.id,
                "name": caller.name,
                "project": caller.project,
                "scopes": [scope.value for scope in caller.scopes],
            },
            "jobs": stages,
            "upstreams": upstreams,
            "deployments": [models.deployment_object(one) for one in deployments],
            "money": {
                "month": f"{datetime.fromtimestamp(now, UTC):%Y-%m}",
                "estimated_usd": money["estimated"] / 1e6,
                "spent_usd": money["spent"] / 1e6,
                "unpriced_jobs": money["unpriced"],
            },
        }
    )
