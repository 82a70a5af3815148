"""Whose turn it is: one at a time, and whoever brings much work waits behind their own, not before others'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """One of each project stands in the line, so each waits for at most one turn of every other project."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, project: str) -> AsyncIterator[None]:
        own = self._own.get(project)
        if own is None:
            own = self._own[project] = asyncio.Lock()
        async with own, self._line:
            yield
