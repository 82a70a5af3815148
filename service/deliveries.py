"""/v1/deliveries and the lists of deliveries: what became of each webhook."""

from __future__ import annotations

import math
import re
import time

from aiohttp import web

from service.answers import json_response
from service.requests import caller_of, choice, context_of, cursor, integer, known_only
from tunehook.context import Context
from tunehook.errors import InvalidParameter
from tunehook.model.webhook import Delivery
from tunehook.openai_format.lists import page_object
from tunehook.openai_format.webhooks import delivery_object, delivery_with_attempts
from tunehook.webhooks import redelivery

STATES = ("pending", "delivered", "failed")


async def of_endpoint(request: web.Request) -> web.Response:
    known_only(request, "after", "limit", "event_type", "job", "state", "created_after", "created_before")
    ctx, query = context_of(request), request.query
    endpoint_id = request.match_info["webhook_endpoint_id"]
    await ctx.store.endpoints.read(endpoint_id, caller_of(request).project)
    state = choice(request, "state", "pending", STATES) if "state" in query else None
    kind, job = query.get("event_type"), query.get("job")

    def _wanted(delivery: Delivery) -> bool:
        fits = (state in (None, delivery.state), kind in (None, delivery.event_type), job in (None, delivery.job_id))
        return all(fits)

    with cursor():
        found, more = await ctx.store.deliveries.page_of_endpoint(
            endpoint_id,
            after=query.get("after"),
            limit=integer(request, "limit", 20, 1, 100),
            wanted=_wanted,
            failed_only=state == "failed",
            since=_moment(request, "created_after"),
            before=_moment(request, "created_before"),
        )
    return web.json_response(page_object([delivery_object(delivery) for delivery in await _planned(ctx, found)], more))


async def of_job(request: web.Request) -> web.Response:
    known_only(request, "after", "limit")
    ctx, job_id = context_of(request), request.match_info["fine_tuning_job_id"]
    await ctx.store.jobs.read(job_id, caller_of(request).project)
    with cursor():
        found, more = await ctx.store.deliveries.page_of_job(
            job_id, after=request.query.get("after"), limit=integer(request, "limit", 20, 1, 100)
        )
    return web.json_response(page_object([delivery_object(delivery) for delivery in await _planned(ctx, found)], more))


async def retrieve(request: web.Request) -> web.Response:
    return await whole(context_of(request), request.match_info["delivery_id"], caller_of(request).project)


async def redeliver(request: web.Request) -> web.Response:
    ctx, caller = context_of(request), caller_of(request)
    delivery = await redelivery.redeliver(ctx.webhooks, caller, request.match_info["delivery_id"])
    return await whole(ctx, delivery.id, caller.project)


async def whole(ctx: Context, delivery_id: str, project: str) -> web.Response:
    deliveries = ctx.store.deliveries
    [delivery] = await _planned(ctx, [(await deliveries.read(delivery_id, project)).delivery])
    found = delivery_with_attempts(delivery, await deliveries.event(delivery), await deliveries.attempts(delivery_id))
    return json_response(found)


async def _planned(ctx: Context, deliveries: list[Delivery]) -> list[Delivery]:
    """Returns the deliveries with the time of their next attempt, which waits for their receiver's rest."""
    rests = await ctx.store.delivery_queue.rests({one.lane for one in deliveries if one.state == "pending"})
    now = time.time()
    return [
        one.model_copy(update={"next_attempt_at": max(one.next_attempt_at or 0, math.ceil(now + rests[one.lane]))})
        if one.state == "pending" and rests.get(one.lane)
        else one
        for one in deliveries
    ]


def _moment(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,11}", text, re.ASCII):
        raise InvalidParameter(param=name, why=f"it must be whole seconds since 1970, not {text[:40]!r}")
    return int(text)
