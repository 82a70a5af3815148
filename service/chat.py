"""/v1/chat/completions and /v1/responses, passed through to the upstream where the model was made."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import web

from service.models import offered
from service.requests import BODY_BYTES, caller_of, context_of, json_object
from tunehook.errors import (
    InvalidParameter,
    MissingParameter,
    ModelNotFound,
    ModelNotTuned,
    NotDeployed,
    UpstreamRefused,
)
from tunehook.jobs.model_access import is_tuned
from tunehook.openai_format import responses
from tunehook.openai_format.strict_json import LARGE_MARKS
from tunehook.store.job_index import JobFilter
from tunehook.upstreams.protocol import Passed, Upstream


async def create(request: web.Request) -> web.StreamResponse:
    body = await json_object(request, BODY_BYTES, LARGE_MARKS)  # 128 tools with long schemas
    if body.get("model") is not None and not isinstance(body.get("messages"), list):
        raise MissingParameter(param="messages")
    responses.refuse_files(body.get("messages"), "messages")
    upstream, sent = await _addressed(request, body)
    try:
        return await _passed_on(request, upstream.chat(sent))
    except UpstreamRefused as refused:
        if refused.code != "model_not_deployed":
            raise
        what_to_do = context_of(request).rules(upstream.name).deployment
        words = f"The model '{body['model'][:200]}' is not deployed at '{upstream.name}'. {what_to_do}"
        raise NotDeployed(words, param="model") from refused


async def respond(request: web.Request) -> web.StreamResponse:
    """Answers by the Responses API of the model's upstream. Nothing is stored there."""
    body = await json_object(request, BODY_BYTES, LARGE_MARKS)
    upstream, sent = await _addressed(request, responses.passed_on(body))
    return await _passed_on(request, upstream.respond(sent))


async def _addressed(request: web.Request, body: dict[str, Any]) -> tuple[Upstream, dict[str, Any]]:
    """Returns the upstream that has the body's model, and the body with the model's name there.

    Raises MissingParameter, InvalidParameter, ModelNotFound, ModelNotTuned and NotDeployed.
    """
    ctx, caller, model = context_of(request), caller_of(request), body.get("model")
    if model is None:
        raise MissingParameter(param="model")
    if not isinstance(model, str):
        raise InvalidParameter(param="model", why="it must be a string")
    made = await ctx.store.models.find(model, caller.project)
    if made is None and (name := await _trained_on(request, model)):
        return ctx.upstreams[name], body
    if made is None and model in await offered(request):
        raise ModelNotTuned(id=model[:200], param="model")
    if made is None or made.upstream not in ctx.upstreams:
        raise ModelNotFound(id=model[:200], param="model")
    upstream = ctx.upstreams[made.upstream]
    if upstream.deploys is None:
        return upstream, body
    if made.name != model:
        why = f"it is a checkpoint, and only the finished model '{made.name}' can be deployed"
        raise NotDeployed(model=model[:200], why=why, param="model")
    running = await ctx.store.deployments.running(made.job_id)
    if running is None:
        raise NotDeployed(model=model[:200], why="it has no deployment that runs", param="model")
    return upstream, {**body, "model": running.chat_model}


async def _trained_on(request: web.Request, model: str) -> str | None:
    """Returns the upstream of the project's last job that trains on this base model; None without such a job."""
    ctx, project = context_of(request), caller_of(request).project
    if is_tuned(model):
        return None
    records, _ = await ctx.store.jobs.page(project, after=None, limit=1, wanted=JobFilter(model=model))
    return next((record.job.upstream for record in records if record.job.upstream in ctx.upstreams), None)


async def _passed_on(request: web.Request, call: AbstractAsyncContextManager[Passed]) -> web.StreamResponse:
    """Answers with the upstream's answer, piece by piece."""
    async with call as passed:
        headers = {**passed.headers, "content-type": passed.content_type}
        response = web.StreamResponse(status=passed.status, headers=headers)
        await response.prepare(request)
        async for chunk in passed.chunks:
            await response.write(chunk)
        await response.write_eof()
        return response
