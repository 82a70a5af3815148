"""/v1/fine_tuning/alpha/graders, passed through to an upstream, which alone can judge a grader."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web

from service.requests import BODY_BYTES, caller_of, context_of, json_object, known_members, optional, required
from tunehook.context import Context
from tunehook.jobs.model_access import check_models, grader_models
from tunehook.jobs.upstream_choice import check_name
from tunehook.upstreams.protocol import Upstream


async def validate(request: web.Request) -> web.Response:
    body = await json_object(request, BODY_BYTES)
    known_members(body, "grader", "tunehook")
    return await _pass_on(request, "validate", body)


async def run(request: web.Request) -> web.Response:
    body = await json_object(request, BODY_BYTES)
    known_members(body, "grader", "model_sample", "item", "tunehook")
    required(body, "model_sample", str)
    optional(body, "item", dict)
    return await _pass_on(request, "run", body)


async def _pass_on(request: web.Request, verb: Literal["run", "validate"], body: dict[str, Any]) -> web.Response:
    ctx = context_of(request)
    grader = required(body, "grader", dict)
    ours = optional(body, "tunehook", dict) or {}
    body.pop("tunehook", None)
    await check_models(ctx, caller_of(request).project, grader_models(grader, "grader"))
    upstream = _upstream(ctx, ours)
    passed = await upstream.grade(verb, body)
    content = b"".join([chunk async for chunk in passed.chunks])
    headers = {**passed.headers, "content-type": passed.content_type}
    return web.Response(status=passed.status, body=content, headers=headers)


def _upstream(ctx: Context, ours: dict[str, Any]) -> Upstream:
    known_members(ours, "upstream", where="tunehook.")
    if "upstream" in ours:
        required(ours, "upstream", str)
    name = ours.get("upstream") or next(iter(ctx.upstreams), "")
    check_name(ctx, name, "tunehook.upstream")
    return ctx.upstreams[name]
