"""/livez, /readyz"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

from aiohttp import web

from service.requests import context_of
from tunehook.context import Context
from tunehook.errors import TunehookError


async def live(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Answers with one check per dependency; 503 if one fails."""
    ctx = context_of(request)
    checks = {"redis": await _redis(ctx), "data_dir": await asyncio.to_thread(_data_dir, ctx.files.storage.directory)}
    checks["upstreams"] = _upstreams(ctx)
    good = all(check["ok"] for check in checks.values())
    return web.json_response({"status": "ok" if good else "failing", "checks": checks}, status=200 if good else 503)


async def _redis(ctx: Context) -> dict[str, object]:
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(1.0):
            await ctx.store.ping()
            durability = await ctx.store.redis_health.shortcomings()
    except (TunehookError, TimeoutError):
        return {"ok": False, "message": "does not answer. Check that it runs and that REDIS_URL is right."}
    ms = (time.perf_counter() - begun) * 1000
    words = "; ".join(durability) or "every write is on disk before it is acknowledged"
    return {"ok": True, "message": f"answers in {ms:.1f} ms; {words}"}


def _data_dir(directory: Path) -> dict[str, object]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return {"ok": False, "message": f"{directory}: {error.strerror}"}
    if not writable:
        return {"ok": False, "message": f"{directory} is not writable. Correct its owner or mode."}
    if free < 1_000_000_000:
        return {
            "ok": False,
            "message": f"{directory} has {free // 1_000_000} MB free. A dataset may have 512 MB.",
        }
    return {"ok": True, "message": f"{directory} is writable, {free // 1_000_000_000} GB free"}


def _upstreams(ctx: Context) -> dict[str, object]:
    names = ", ".join(ctx.upstreams)
    if not names:
        return {"ok": False, "message": "none is configured. Set OPENAI_API_KEY."}
    return {"ok": True, "message": f"configured: {names}"}
