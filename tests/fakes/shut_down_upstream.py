"""An upstream that has shut all of its models down: what was trained there may go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from tunehook.context import Context
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream


class ShutDown(OpenAIUpstream):
    """Gives each model a shutdown date in the past."""

    async def models(self) -> list[dict[str, Any]]:
        return [{**row, "shutdown_date": "2026-01-14"} for row in await super().models()]


@asynccontextmanager
async def after_the_shutdown(ctx: Context, base_url: str) -> AsyncIterator[Context]:
    """Yields the context, with such an upstream as `openai`."""
    upstream = ShutDown("openai", UpstreamSettings(base_url=base_url, api_key=SecretStr("sk-simulated")))
    try:
        yield replace(ctx, upstreams={**ctx.upstreams, "openai": upstream})
    finally:
        await upstream.close()
