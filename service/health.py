"""/livez, /readyz"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from service.requests import context_of
from tunehook.context import Context
from tunehook.errors import CommitUnconfirmed, DataDirUnavailable, StoreUnavailable, TunehookError
from tunehook.store.redis_health import FULL

#: A bucket that does not answer is asked again for 40 s; a probe does not wait for that.
STORAGE_SECONDS = 10.0


async def live(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Answers with one check per dependency; 503 if one fails."""
    ctx = context_of(request)
    checks = {"redis": await _redis(ctx), "data_dir": await _data_dir(ctx), "upstreams": _upstreams(ctx)}
    good = all(check["ok"] for check in checks.values())
    return web.json_response({"status": "ok" if good else "failing", "checks": checks}, status=200 if good else 503)


async def _redis(ctx: Context) -> dict[str, object]:
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(1.0):
            await ctx.store.ping()
            await ctx.store.confirm()
            health = ctx.store.redis_health
            durability, used = await health.shortcomings(), await health.used()
    except CommitUnconfirmed:
        why = f"fewer than {ctx.store.replicas} replicas confirm a write, so nothing is accepted. Check that they run."
        return {"ok": False, "message": why}
    except (TunehookError, TimeoutError):
        return {"ok": False, "message": "does not answer. Check that it runs and that REDIS_URL is right."}
    ms = (time.perf_counter() - begun) * 1000
    words = "; ".join(durability) or "every write is on disk before it is acknowledged"
    if used >= FULL:
        words = f"it is full, so every write is refused: raise its maxmemory; {words}"
    good = used < FULL and not (durability and health.strict)
    return {"ok": good, "message": f"answers in {ms:.1f} ms; {words}"}


async def _data_dir(ctx: Context) -> dict[str, object]:
    """Fails below 1 GB: a dataset may have 512 MB."""
    ctx.files.storage.forget_mark()
    try:
        async with asyncio.timeout(STORAGE_SECONDS):
            return {"ok": True, "message": await ctx.files.storage.check_room(1_000_000_000)}
    except TimeoutError:
        return {"ok": False, "message": f"{ctx.files.storage.place.label} does not answer in {STORAGE_SECONDS:.0f} s."}
    except DataDirUnavailable as error:
        return {"ok": False, "message": error.detail}
    except StoreUnavailable:
        return {"ok": False, "message": "not known, since Redis does not answer."}


def _upstreams(ctx: Context) -> dict[str, object]:
    names = ", ".join(ctx.upstreams)
    if not names:
        return {"ok": False, "message": "none is configured. Set OPENAI_API_KEY."}
    return {"ok": True, "message": f"configured: {names}"}
