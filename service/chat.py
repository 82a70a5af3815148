"""/v1/chat/completions, passed through to the upstream where the model was made."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

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
from tunehook.openai_format.strict_json import LARGE_MARKS
from tunehook.upstreams.protocol import Passed


async def create(request: web.Request) -> web.StreamResponse:
    ctx, caller = context_of(request), caller_of(request)
    body = await json_object(request, BODY_BYTES, LARGE_MARKS)  # 128 tools with long schemas
    model = body.get("model")
    if model is None:
        raise MissingParameter(param="model")
    if not isinstance(model, str):
        raise InvalidParameter(param="model", why="it must be a string")
    if not isinstance(body.get("messages"), list):
        raise MissingParameter(param="messages")
    made = await ctx.store.models.find(model, caller.project)
    if made is None and model in await offered(request):
        raise ModelNotTuned(id=model[:200], param="model")
    if made is None or made.upstream not in ctx.upstreams:
        raise ModelNotFound(id=model[:200], param="model")
    if ctx.upstreams[made.upstream].deploys is not None:
        running = await ctx.store.deployments.running(made.job_id)
        if running is None:
            raise NotDeployed(model=model[:200], why="it has no deployment that runs", param="model")
        body["model"] = running.chat_model
    try:
        return await _passed_on(request, ctx.upstreams[made.upstream].chat(body))
    except UpstreamRefused as refused:
        if refused.code != "model_not_deployed":
            raise
        words = f"The model '{model[:200]}' is not deployed at '{made.upstream}'. {ctx.rules(made.upstream).deployment}"
        raise NotDeployed(words, param="model") from refused


async def _passed_on(request: web.Request, chat: AbstractAsyncContextManager[Passed]) -> web.StreamResponse:
    async with chat as passed:
        headers = {**passed.headers, "content-type": passed.content_type}
        response = web.StreamResponse(status=passed.status, headers=headers)
        await response.prepare(request)
        async for chunk in passed.chunks:
            await response.write(chunk)
        await response.write_eof()
        return response
