"""POST /v1/upstreams/{name}/events: a webhook of an upstream makes Tunehook poll it now.

Its content is not used: polling is the source of truth, this only makes it sooner. A forged event is refused and a
repeated one ignored, though either could do no more than cause a poll.
"""

from __future__ import annotations

import logging
import time

from aiohttp import web

from service.requests import body, context_of, refuse_encoding
from tunehook.errors import UpstreamWebhookUnknown
from tunehook.model.member import poll_member
from tunehook.security import signature

log = logging.getLogger("tunehook.api")

#: OpenAI's events are below 1 kB.
EVENT_BYTES = 64 * 1024


async def receive(request: web.Request) -> web.Response:
    """Answers 404 without a secret, 401 for a wrong signature, else 204 at once, also for a repeated event."""
    ctx, name = context_of(request), request.match_info["name"]
    secret = ctx.webhook_secrets.get(name)
    if secret is None:
        raise UpstreamWebhookUnknown(name=name[:80])
    refuse_encoding(request)
    signature.verify([secret], request.headers, await body(request, EVENT_BYTES), now=int(time.time()))
    message_id = request.headers[signature.ID_HEADER]
    if not await ctx.store.upstreams.hook_came_before(name, message_id):
        await ctx.store.wake(poll_member(name))
        await ctx.store.upstreams.remember_hook(name, message_id)  # last: until then, a repeat causes the poll
        log.info("upstream %s sent a webhook: it is polled now", name)
    return web.Response(status=204)
