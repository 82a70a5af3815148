"""Catalog: the model lists of all upstreams, cached for five minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from tunehook.errors import UpstreamError
from tunehook.upstreams.protocol import Upstream

log = logging.getLogger(__name__)

#: The lists change a few times a year; an upstream that did not answer is asked again sooner.
FRESH_SECONDS, FAILED_SECONDS = 300.0, 10.0
#: How long an upstream is asked; other requests for the catalog wait meanwhile.
ASK_SECONDS = 6.0
Rows = list[dict[str, Any]]


class Catalog:
    """Asks each upstream for its models at the first request, and caches the answer."""

    def __init__(self) -> None:
        self._rows: dict[str, Rows] = {}
        self._until: dict[str, float] = {}
        self._asking = asyncio.Lock()

    async def all(self, upstreams: Mapping[str, Upstream]) -> Mapping[str, Rows]:
        """Returns the models by upstream."""
        async with self._asking:
            await asyncio.gather(*(self._refresh(upstream) for upstream in upstreams.values()))
        return self._rows

    async def _refresh(self, upstream: Upstream) -> None:
        """Refreshes one list that is too old; keeps it if the upstream does not answer."""
        name, now = upstream.name, asyncio.get_running_loop().time()
        if now < self._until.get(name, 0.0):
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._rows[name] = await upstream.models()
            self._until[name] = now + FRESH_SECONDS
        except (UpstreamError, TimeoutError) as error:
            log.warning("the models of %s are not listed: %s", name, str(error) or f"no answer within {ASK_SECONDS} s")
            self._rows.setdefault(name, [])
            self._until[name] = now + FAILED_SECONDS
