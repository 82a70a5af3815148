"""POST /v1/upstreams/{name}/events: an upstream says that something has happened. It makes the look happen now.

Nothing of what it says is believed: polling is the truth, this is the accelerator. So a forged or repeated event
could do no more than cause a look, and is refused or passed over all the same.
"""

from __future__ import annotations

import logging
import time

from aiohttp import web

from service.requests import body, context_of, refuse_encoding
from tunehook.errors import UpstreamHookUnknown
from tunehook.model.member import poll_member
from tunehook.security import signature

log = logging.getLogger("tunehook.api")

#: OpenAI's events are below 1 kB.
EVENT_BYTES = 64 * 1024


async def receive(request: web.Request) -> web.Response:
    """404 while no secret is set, 401 if the secret did not sign it; else 204 at once, also if it came before."""
    ctx, name = context_of(request), request.match_info["name"]
    secret = ctx.webhook_secrets.get(name)
    if secret is None:
        raise UpstreamHookUnknown(name=name[:80])
    refuse_encoding(request)
    signature.verify([secret], request.headers, await body(request, EVENT_BYTES), now=int(time.time()))
    message_id = request.headers[signature.ID_HEADER]
    if not await ctx.store.upstreams.hook_came_before(name, message_id):
        await ctx.store.wake(poll_member(name))
        await ctx.store.upstreams.remember_hook(name, message_id)  # last: until then, a repeat causes the look
        log.info("upstream %s has news", name)
    return web.Response(status=204)
