"""Authenticates every request below /v1 by its bearer key, and checks the key's scope and rate."""

from __future__ import annotations

from aiohttp import web

from service import upstream_webhooks
from service.error_responses import Handler
from service.limits import count_request
from service.requests import CALLER, bearer_of, context_of, refuse_odd_bytes
from service.scopes import check_scope
from tunehook import api_keys
from tunehook.errors import MissingKey


@web.middleware
async def authenticated(request: web.Request, handler: Handler) -> web.StreamResponse:
    refuse_odd_bytes(request)
    found = not isinstance(request.match_info.http_exception, web.HTTPException)
    if found and request.path.startswith("/v1/") and not _is_signed(request):
        text = bearer_of(request)
        if not text:
            raise MissingKey
        request[CALLER] = caller = await api_keys.authenticate(context_of(request).store, text)
        resource = request.match_info.route.resource
        check_scope(caller, request.method, resource.canonical if resource else request.path)
        await count_request(request, caller.project)
    return await handler(request)


def _is_signed(request: web.Request) -> bool:
    """Whether the request carries a signature instead of a key: an upstream's webhook."""
    return request.match_info.handler is upstream_webhooks.receive
