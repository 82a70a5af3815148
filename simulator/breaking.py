"""Let one request go wrong as a directive says: before it acts, after it acted, or in how its answer travels."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

from simulator.faults import Directive
from simulator.problems import NAMED, named
from wire.http import refusal

CLOSING = web.AppKey("closing", asyncio.Event)
# How long after now what this request creates comes into being; how long lists hide new jobs; …
LANDS_AFTER = web.RequestKey("lands_after", float)
LIST_LAG = web.RequestKey("list_lag", float)
# The request's line in the journal.
ENTRY: web.RequestKey[dict[str, object]] = web.RequestKey("entry", dict)
IGNORE_FILTER = web.RequestKey("ignore_filter", bool)

# How often each directive with `*times` was played for the same request.
PLAYED: web.AppKey[Counter[str]] = web.AppKey("played", Counter)

Act = Callable[[web.Request], Awaitable[web.StreamResponse]]


def spent(request: web.Request, directive: Directive, what: str) -> bool:
    """Whether this directive was already played as often as it asks; counts this time otherwise."""
    if directive.times is None:
        return False
    played, key = request.app[PLAYED], f"{request.path} {directive} {what}"
    played[key] += 1
    return played[key] > directive.times


async def play(directive: Directive, request: web.Request, act: Act) -> web.StreamResponse:
    """Answer `request` as the directive says; `act` is what the request would do."""
    request[ENTRY]["fault"] = directive.name
    if directive.name == "delay":
        await _wait(request, 5.0 if directive.seconds is None else directive.seconds)
        return await act(request)
    if directive.name == "list_lag":
        request[LIST_LAG] = 30.0 if directive.seconds is None else directive.seconds
        return await act(request)
    if directive.name == "ignore_metadata_filter":
        request[IGNORE_FILTER] = True
        return await act(request)
    if directive.acts_first:
        request[LANDS_AFTER] = directive.lands_after
        await act(request)  # refused for its own sake, it raises, and that is the answer
    return await _lose(directive, request)


async def _lose(directive: Directive, request: web.Request) -> web.StreamResponse:
    if directive.answer == "malformed":
        return web.Response(text='{"id": "ftjob-', content_type="application/json")
    if directive.answer in NAMED:
        late = directive.name.startswith("late")
        return refusal(named(directive.answer, None if late else directive.seconds))
    if directive.answer == "hang":
        late = directive.name.startswith("late")
        await _wait(request, 3600.0 if late or directive.seconds is None else directive.seconds)
    return _reset(request)


def _reset(request: web.Request) -> web.StreamResponse:
    """Close the socket with a RST, as a dying proxy does, and answer nothing."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=499)


async def _wait(request: web.Request, seconds: float) -> None:
    """Real seconds; ends early when the client goes away or the server stops."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until and request.transport is not None and not request.transport.is_closing():
        try:
            async with asyncio.timeout(min(0.1, until - loop.time())):
                await request.app[CLOSING].wait()
        except TimeoutError:
            continue
        return
