"""Writes changes that many tasks make at the same time: all of two milliseconds in one round trip."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tunehook.store.commit import Change
from tunehook.store.connection import Connection

RECORD_BATCH = 128
GATHER_SECONDS = 0.002


class Recorder:
    """Each change is for itself, as if it were committed alone."""

    def __init__(self, store: Connection) -> None:
        self._store = store
        self._open: list[tuple[Change, asyncio.Future[None]]] = []
        self._news = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Recorder:
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *details: object) -> None:
        assert self._writer is not None
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer

    async def record(self, change: Change) -> None:
        """Returns when it is written. Raises a Conflict when it is refused."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.append((change, written))
        self._news.set()
        await written

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._open = self._open[:RECORD_BATCH], self._open[RECORD_BATCH:]
            if not self._open:
                self._news.clear()
            await self._write_all(batch)

    async def _write_all(self, batch: list[tuple[Change, asyncio.Future[None]]]) -> None:
        outcomes: list[int | Exception]
        try:
            outcomes = [*await self._store.commit_many([change for change, _ in batch])]
        except Exception as error:  # whatever it is, it is for those who wait for it
            outcomes = [error] * len(batch)
        for (_, written), outcome in zip(batch, outcomes, strict=True):
            if written.done():
                continue
            if isinstance(outcome, Exception):
                written.set_exception(outcome)
            else:
                written.set_result(None)
