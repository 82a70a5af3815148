"""Authenticates every request below /v1 by its bearer key, and checks the key's scope and rate."""

from __future__ import annotations

from aiohttp import web

from service import upstream_webhooks
from service.error_responses import Handler
from service.limits import count_request
from service.requests import CALLER, bearer_of, caller_of, context_of, refuse_odd_bytes
from service.scopes import check_scope
from tunehook import api_keys
from tunehook.errors import MissingKey
from tunehook.store.engine.connection import Reading
from tunehook.store.jobs import JobRecord


@web.middleware
async def authenticated(request: web.Request, handler: Handler) -> web.StreamResponse:
    refuse_odd_bytes(request)
    found = not isinstance(request.match_info.http_exception, web.HTTPException)
    if found and request.path.startswith("/v1/") and not _is_signed(request):
        text = bearer_of(request)
        if not text:
            raise MissingKey
        store = context_of(request).store
        with store.reading_ahead(_read_by(request)):
            request[CALLER] = await api_keys.authenticate(store, text)
            resource = request.match_info.route.resource
            check_scope(caller_of(request), request.method, resource.canonical if resource else request.path)
            await count_request(request, caller_of(request).project)
            return await handler(request)
    return await handler(request)


def _read_by(request: web.Request) -> list[Reading]:
    """Returns what the handler will read in any case: it travels with the key, in one round trip."""
    job_id = request.match_info.get("fine_tuning_job_id")
    return [JobRecord.reading(job_id)] if job_id and request.method == "GET" else []


def _is_signed(request: web.Request) -> bool:
    """Whether the request carries a signature instead of a key: an upstream's webhook."""
    return request.match_info.handler is upstream_webhooks.receive
