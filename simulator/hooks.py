"""OpenAI's own webhooks: when a job ends, its id is posted to the configured URL, signed (Standard Webhooks)."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from simulator import training
from simulator.places import CLOCK, CONFIG, OPENAI
from simulator.world import Job, World

_LOG = logging.getLogger(__name__)
# OpenAI tries for 72 hours; a double need not.
_PAUSES = (0.0, 1.0, 5.0, 30.0, 120.0)


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """The webhook-signature header over the exact bytes. Raises ValueError for a secret that is not whsec_<base64>."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    digest = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def event(world: World, job: Job) -> dict[str, object]:
    """The envelope, with the job's id and nothing more, as OpenAI sends it."""
    ended = world.when(job, training.ends_at(job.spec, job.marks))
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "created_at": int(ended),
        "type": f"fine_tuning.job.{world.status(job)}",
        "data": {"id": job.id},
    }


async def running(app: web.Application) -> AsyncIterator[None]:
    """Watches the clock, so that jobs end without a request, and posts what ended."""
    config, world, clock = app[CONFIG], app[OPENAI], app[CLOCK]
    if not config.webhook_url or not config.webhook_secret:
        yield
        return
    url, secret = config.webhook_url, config.webhook_secret
    changed, posts = asyncio.Event(), set[asyncio.Task[None]]()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), trust_env=False) as session:

        def tell(job: Job) -> None:
            post = asyncio.create_task(_post(session, url, secret, event(world, job)))
            posts.add(post)
            post.add_done_callback(posts.discard)

        world.on_end.append(tell)
        world.on_change.append(changed.set)
        clock.on_advance(changed.set)
        watch = asyncio.create_task(_watch(world, changed))
        yield
        for task in (watch, *posts):
            task.cancel()
        await asyncio.gather(watch, *posts, return_exceptions=True)


async def _watch(world: World, changed: asyncio.Event) -> None:
    while True:
        changed.clear()
        world.settle()
        # A clock that stands still is not waited for in vain: advancing it sets the event.
        pause = max(0.01, min(3600.0, world.next_end() - world.clock.now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await changed.wait()


async def _post(session: aiohttp.ClientSession, url: str, secret: str, what: dict[str, object]) -> None:
    body = json.dumps(what).encode()
    for pause in _PAUSES:
        await asyncio.sleep(pause)
        stamp = int(time.time())  # receivers compare it with their own clock, so never the simulated one
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
            "webhook-id": str(what["id"]),
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(secret, str(what["id"]), stamp, body),
        }
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                if answer.ok:
                    return
                _LOG.warning("webhook %s to %s: status %s", what["id"], url, answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            _LOG.warning("webhook %s to %s: %r", what["id"], url, error)
