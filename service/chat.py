"""/v1/chat/completions and /v1/responses, passed through to the upstream where the model was made."""

from __future__ import annotations

from aiohttp import web

from service.passing import addressed, passed_on
from service.requests import BODY_BYTES, context_of, json_object
from tunehook.errors import MissingParameter, NotDeployed, UpstreamRefused
from tunehook.openai_format import responses
from tunehook.openai_format.strict_json import LARGE_MARKS


async def create(request: web.Request) -> web.StreamResponse:
    body = await json_object(request, BODY_BYTES, LARGE_MARKS)  # 128 tools with long schemas
    if body.get("model") is not None and not isinstance(body.get("messages"), list):
        raise MissingParameter(param="messages")
    responses.refuse_files(body.get("messages"), "messages")
    upstream, sent = await addressed(request, body)
    try:
        return await passed_on(request, upstream.chat(sent))
    except UpstreamRefused as refused:
        if refused.code != "model_not_deployed":
            raise
        what_to_do = context_of(request).rules(upstream.name).deployment
        words = f"The model '{body['model'][:200]}' is not deployed at '{upstream.name}'. {what_to_do}"
        raise NotDeployed(words, param="model") from refused


async def respond(request: web.Request) -> web.StreamResponse:
    """Answers by the Responses API of the model's upstream. Nothing is stored there."""
    body = await json_object(request, BODY_BYTES, LARGE_MARKS)
    upstream, sent = await addressed(request, responses.passed_on(body))
    return await passed_on(request, upstream.respond(sent))
