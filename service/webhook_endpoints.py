"""/v1/webhook_endpoints, /v1/webhook_event_types and /v1/callback_secret"""

from __future__ import annotations

import time

from aiohttp import web

from service.limits import TEST_LIMIT
from service.requests import (
    caller_of,
    context_of,
    cursor,
    integer,
    is_sdk_retry,
    json_object,
    known_only,
    optional_json_object,
)
from tunehook import api_keys
from tunehook.model.webhook import hint_of
from tunehook.openai_format.lists import list_object, page_object
from tunehook.openai_format.request_model import parse_as
from tunehook.openai_format.webhooks import endpoint_object
from tunehook.webhooks import endpoints, event_types, redelivery
from tunehook.webhooks.endpoints import RotateRequest


def _id(request: web.Request) -> str:
    return request.match_info["webhook_endpoint_id"]


async def create(request: web.Request) -> web.Response:
    body = await json_object(request)
    retry = is_sdk_retry(request)
    endpoint, secret = await endpoints.create(context_of(request).webhooks, caller_of(request), body, sdk_retry=retry)
    return web.json_response(endpoint_object(endpoint, now=time.time(), secret=secret))


async def list_(request: web.Request) -> web.Response:
    known_only(request, "after", "limit")
    with cursor():
        endpoints, more = await context_of(request).store.endpoints.page(
            caller_of(request).project,
            after=request.query.get("after"),
            limit=integer(request, "limit", 20, 1, 100),
        )
    return web.json_response(page_object([endpoint_object(endpoint, now=time.time()) for endpoint in endpoints], more))


async def retrieve(request: web.Request) -> web.Response:
    record = await context_of(request).store.endpoints.read(_id(request), caller_of(request).project)
    return web.json_response(endpoint_object(record.endpoint, now=time.time()))


async def update(request: web.Request) -> web.Response:
    body = await json_object(request)
    endpoint = await endpoints.update(context_of(request).webhooks, caller_of(request), _id(request), body)
    return web.json_response(endpoint_object(endpoint, now=time.time()))


async def delete(request: web.Request) -> web.Response:
    await endpoints.delete(context_of(request).webhooks, caller_of(request), _id(request))
    return web.json_response({"id": _id(request), "object": "webhook_endpoint.deleted", "deleted": True})


async def rotate_secret(request: web.Request) -> web.Response:
    body = await optional_json_object(request)
    ctx, caller, retry = context_of(request), caller_of(request), is_sdk_retry(request)
    endpoint, secret = await endpoints.rotate(ctx.webhooks, caller, _id(request), body, sdk_retry=retry)
    return web.json_response(endpoint_object(endpoint, now=time.time(), secret=secret))


async def test(request: web.Request) -> web.Response:
    body = await json_object(request)
    async with request.app[TEST_LIMIT].turn(caller_of(request).project):
        kind, status = await endpoints.test(context_of(request).webhooks, caller_of(request), _id(request), body)
    return web.json_response(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": _id(request),
            "event_type": kind,
            "status_code": status,
            "success": True,
        }
    )


async def enable(request: web.Request) -> web.Response:
    endpoint = await endpoints.enable(context_of(request).webhooks, caller_of(request), _id(request))
    return web.json_response(endpoint_object(endpoint, now=time.time()))


async def recover(request: web.Request) -> web.Response:
    body = await json_object(request)
    count = await redelivery.recover(context_of(request).webhooks, caller_of(request), _id(request), body)
    return web.json_response(
        {"object": "webhook_endpoint.recovery", "webhook_endpoint_id": _id(request), "redelivered": count}
    )


async def types(request: web.Request) -> web.Response:
    return web.json_response(list_object(event_types.ALL))


async def rotate_callback_secret(request: web.Request) -> web.Response:
    ctx = context_of(request)
    asked = parse_as(RotateRequest, await optional_json_object(request))
    secret, key = await api_keys.rotate_callback_secret(
        ctx.store,
        ctx.webhooks.encryption,
        caller_of(request),
        keep_old=asked.keep_old_secret_active_for_24_hours,
        now=int(time.time()),
        sdk_retry=is_sdk_retry(request),
    )
    return web.json_response(
        {
            "object": "callback_secret",
            "signing_secret": secret,
            "signing_secret_hint": hint_of(secret),
            "old_secret_active_until": key.old_callback_secret_until,
        }
    )
