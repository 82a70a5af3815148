"""/v1/models/{model}/deploy: makes a tuned model callable at its upstream, and removes its deployment."""

from __future__ import annotations

from aiohttp import web

from service.requests import caller_of, context_of, optional_json_object
from tunehook.errors import UnknownParameter
from tunehook.jobs import deployment_commands
from tunehook.openai_format.models import deployment_object


async def create(request: web.Request) -> web.Response:
    """Answers at once; the deployment is made by the workers."""
    body = await optional_json_object(request)
    if body:
        raise UnknownParameter(param=next(iter(body)), hint=" Send no body.")
    ctx, project = context_of(request), caller_of(request).project
    return web.json_response(
        deployment_object(await deployment_commands.deploy(ctx, project, request.match_info["model"]))
    )


async def retrieve(request: web.Request) -> web.Response:
    ctx, project = context_of(request), caller_of(request).project
    return web.json_response(
        deployment_object(await deployment_commands.shown(ctx, project, request.match_info["model"]))
    )


async def delete(request: web.Request) -> web.Response:
    ctx, project = context_of(request), caller_of(request).project
    return web.json_response(
        deployment_object(await deployment_commands.undeploy(ctx, project, request.match_info["model"]))
    )
