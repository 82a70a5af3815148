"""/v1/webhook_endpoints/{id}/stream and /v1/deliveries/{id}/attempts: deliveries that are fetched, not sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from service import deliveries, streams
from service.requests import caller_of, context_of, cursor, integer, json_object, known_only
from service.streams import HEARTBEAT, HEARTBEAT_SECONDS, OPEN_STREAMS, RETRY_SECONDS, wants_stream
from tunehook.errors import EndpointNotFound, StoreUnavailable
from tunehook.model.api_key import Scope
from tunehook.model.record import new_id
from tunehook.openai_format.json_text import spaced
from tunehook.openai_format.lists import page_object
from tunehook.webhooks import pull

#: Between two looks for deliveries: while the reader holds some, and while there are none.
BUSY_SECONDS, IDLE_SECONDS = 0.05, 0.5
LONGEST_LEASE_SECONDS = 3600


async def read(request: web.Request) -> web.StreamResponse:
    """Answers with a page if `after` or `limit` are given, or JSON is asked for; else with a stream."""
    known_only(request, "after", "job", "limit", "lease_seconds")
    ctx, caller, query = context_of(request), caller_of(request), request.query
    endpoint = await pull.endpoint_of(ctx.webhooks, caller, request.match_info["webhook_endpoint_id"])
    limit = integer(request, "limit", 20, 1, 100)
    lease = integer(request, "lease_seconds", int(pull.LEASE_SECONDS), 1, LONGEST_LEASE_SECONDS)
    job = query.get("job")
    after = request.headers.get("last-event-id") if wants_stream(request) else None
    after = after or query.get("after")
    if after:
        with cursor():
            await ctx.store.deliveries.read(after, caller.project)
    plain = "application/json" in request.headers.get("accept", "") or "after" in query or "limit" in query
    if plain and not wants_stream(request):
        found, more = await pull.hand_out(
            ctx.webhooks, endpoint.id, reader=new_id(""), limit=limit, lease_seconds=lease, after=after, job=job
        )
        return web.json_response(page_object([shown for _, shown in found], more))
    with request.app[OPEN_STREAMS].one_more(request):
        return await streams.send(request, _texts(request, endpoint.id, limit, lease, after, job))


async def _texts(
    request: web.Request, endpoint_id: str, limit: int, lease: int, after: str | None, job: str | None
) -> AsyncIterator[bytes]:
    """Yields deliveries as they become due, while the reader holds fewer than `limit`, and comments in between.

    So a reader that reports nothing has at most `limit` deliveries under way, and they are all that waits in memory.
    """
    ctx, clock, reader = context_of(request), asyncio.get_running_loop().time, new_id("")
    held: dict[str, int] = {}
    heard_at, open_streams = clock(), request.app[OPEN_STREAMS]
    yield b": reading\n\n"
    while open_streams.goes_on(request, Scope.WEBHOOKS) and request.transport and not request.transport.is_closing():
        try:
            held = await ctx.store.pull_queue.still_held(endpoint_id, held)
            found, _ = await pull.hand_out(
                ctx.webhooks,
                endpoint_id,
                reader=reader,
                limit=limit - len(held),
                lease_seconds=lease,
                after=after,
                job=job,
            )
        except StoreUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        except EndpointNotFound:
            return
        after = None
        if found:
            held |= {one.delivery.id: one.until for one, _ in found}
            yield b"".join(f"id: {shown['id']}\ndata: {spaced(shown)}\n\n".encode() for _, shown in found)
            heard_at = clock()
        elif clock() - heard_at > HEARTBEAT_SECONDS:
            yield HEARTBEAT
            heard_at = clock()
        await asyncio.sleep(BUSY_SECONDS if held else IDLE_SECONDS)


async def report(request: web.Request) -> web.Response:
    """Notes what became of a delivery; answers with the delivery and every attempt."""
    ctx, caller = context_of(request), caller_of(request)
    delivery_id = request.match_info["delivery_id"]
    await pull.report(ctx.webhooks, caller, delivery_id, await json_object(request))
    return await deliveries.whole(ctx, delivery_id, caller.project)
