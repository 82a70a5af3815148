"""/v1/webhook_endpoints, /v1/webhook_event_types and /v1/callback_secret"""

from __future__ import annotations

import time

from aiohttp import web

from service.reading import (
    caller_of,
    cursor,
    integer,
    is_sdk_retry,
    json_object,
    known_only,
    optional_json_object,
    world_of,
)
from service.testing import TURNS
from tunehook import access, event_types, subscriptions
from tunehook.endpoint import hint_of
from tunehook.job_request import parse_as
from tunehook.subscriptions import RotateRequest
from tunehook.webhook_wire import endpoint_object, page


def _id(request: web.Request) -> str:
    return request.match_info["webhook_endpoint_id"]


async def create(request: web.Request) -> web.Response:
    body = await json_object(request)
    retry = is_sdk_retry(request)
    endpoint, secret = await subscriptions.create(world_of(request), caller_of(request), body, sdk_retry=retry)
    return web.json_response(endpoint_object(endpoint, now=time.time(), secret=secret))


async def list_(request: web.Request) -> web.Response:
    known_only(request, "after", "limit")
    with cursor():
        endpoints, more = await world_of(request).store.endpoints.page(
            caller_of(request).project,
            after=request.query.get("after"),
            limit=integer(request, "limit", 20, 1, 100),
        )
    return web.json_response(page([endpoint_object(endpoint, now=time.time()) for endpoint in endpoints], more))


async def retrieve(request: web.Request) -> web.Response:
    record = await world_of(request).store.endpoints.read(_id(request), caller_of(request).project)
    return web.json_response(endpoint_object(record.endpoint, now=time.time()))


async def update(request: web.Request) -> web.Response:
    body = await json_object(request)
    endpoint = await subscriptions.update(world_of(request), caller_of(request), _id(request), body)
    return web.json_response(endpoint_object(endpoint, now=time.time()))


async def delete(request: web.Request) -> web.Response:
    await subscriptions.delete(world_of(request), caller_of(request), _id(request))
    return web.json_response({"id": _id(request), "object": "webhook_endpoint.deleted", "deleted": True})


async def rotate_secret(request: web.Request) -> web.Response:
    body = await optional_json_object(request)
    world, caller, retry = world_of(request), caller_of(request), is_sdk_retry(request)
    endpoint, secret = await subscriptions.rotate(world, caller, _id(request), body, sdk_retry=retry)
    return web.json_response(endpoint_object(endpoint, now=time.time(), secret=secret))


async def test(request: web.Request) -> web.Response:
    body = await json_object(request)
    async with request.app[TURNS].turn(caller_of(request).project):
        kind, status = await subscriptions.test(world_of(request), caller_of(request), _id(request), body)
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
    endpoint = await subscriptions.enable(world_of(request), caller_of(request), _id(request))
    return web.json_response(endpoint_object(endpoint, now=time.time()))


async def recover(request: web.Request) -> web.Response:
    body = await json_object(request)
    count = await subscriptions.recover(world_of(request), caller_of(request), _id(request), body)
    return web.json_response(
        {"object": "webhook_endpoint.recovery", "webhook_endpoint_id": _id(request), "redelivered": count}
    )


async def types(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": list(event_types.ALL)})


async def rotate_callback_secret(request: web.Request) -> web.Response:
    world = world_of(request)
    asked = parse_as(RotateRequest, await optional_json_object(request))
    secret, key = await access.rotate_callback_secret(
        world.store,
        world.vault,
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
