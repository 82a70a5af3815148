"""The model lists of all upstreams, kept for some minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from tunehook.errors import UpstreamError
from tunehook.upstreams.protocol import Upstream

log = logging.getLogger(__name__)

#: Upstreams' lists change a few times a year; an upstream that does not answer is asked again sooner.
FRESH_SECONDS, FAILED_SECONDS = 300.0, 10.0
#: Whoever asks meanwhile waits as well.
ASK_SECONDS = 6.0
Rows = list[dict[str, Any]]


class Catalog:
    """What each upstream lists, asked for when it is first wanted and kept for some minutes."""

    def __init__(self) -> None:
        self._rows: dict[str, Rows] = {}
        self._until: dict[str, float] = {}
        self._asking = asyncio.Lock()

    async def all(self, upstreams: Mapping[str, Upstream]) -> Mapping[str, Rows]:
        async with self._asking:
            await asyncio.gather(*(self._refresh(upstream) for upstream in upstreams.values()))
        return self._rows

    async def _refresh(self, upstream: Upstream) -> None:
        """What an upstream said last stays, if it does not answer now."""
        name, now = upstream.name, asyncio.get_running_loop().time()
        if now < self._until.get(name, 0.0):
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._rows[name] = await upstream.models()
            self._until[name] = now + FRESH_SECONDS
        except (UpstreamError, TimeoutError) as error:
            log.warning("models of %s: %s", name, error or f"no answer within {ASK_SECONDS} s")
            self._rows.setdefault(name, [])
            self._until[name] = now + FAILED_SECONDS
