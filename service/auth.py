"""Who calls: the bearer key of every request below /v1."""

from __future__ import annotations

from aiohttp import web

from service import upstream_events
from service.problems import Handler
from service.reading import CALLER, world_of
from tunehook import access
from tunehook.errors import MissingKey


@web.middleware
async def authenticated(request: web.Request, handler: Handler) -> web.StreamResponse:
    found = not isinstance(request.match_info.http_exception, web.HTTPException)
    if found and request.path.startswith("/v1/") and not _is_signed(request):
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            raise MissingKey
        request[CALLER] = await access.authenticate(world_of(request).store, text.strip())
    return await handler(request)


def _is_signed(request: web.Request) -> bool:
    """What an upstream posts bears its signature instead of a key."""
    return request.match_info.handler is upstream_events.receive
