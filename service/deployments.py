"""/v1/models/{model}/deploy: makes a tuned model callable at its upstream, and removes its deployment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from service.requests import caller_of, context_of, optional_json_object
from tunehook.context import Context
from tunehook.errors import UnknownParameter
from tunehook.jobs import deployment_commands
from tunehook.model.deployment import Deployment
from tunehook.openai_format.models import deployment_object


async def create(request: web.Request) -> web.Response:
    """Answers at once; the deployment is made by the workers."""
    body = await optional_json_object(request)
    if body:
        raise UnknownParameter(param=next(iter(body)), hint=" Send no body.")
    return await _answer(request, deployment_commands.deploy)


async def retrieve(request: web.Request) -> web.Response:
    return await _answer(request, deployment_commands.shown)


async def delete(request: web.Request) -> web.Response:
    return await _answer(request, deployment_commands.undeploy)


async def _answer(request: web.Request, command: Callable[[Context, str, str], Awaitable[Deployment]]) -> web.Response:
    """Answers with the deployment that a command returns for the model of the path."""
    found = await command(context_of(request), caller_of(request).project, request.match_info["model"])
    return web.json_response(deployment_object(found))
