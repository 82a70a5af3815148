"""Scripts that many tasks run at the same time: all of two milliseconds go in one round trip.

A delivery step works on thousands of records at once; a connection for each would be waited for longer than
Redis is (connection.py). What one call meets is its own: the others of its round trip have nothing to do with it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tunehook.errors import StoreUnavailable
from tunehook.store.commit import Change
from tunehook.store.connection import Connection, ScriptCall

GATHER_SECONDS = 0.002
CALLS_AT_ONCE = 128
ROUND_TRIPS_AT_ONCE = 4


class Gathering:
    """`run` and `commit` as the store has them. To be entered before and left after their use."""

    def __init__(self, store: Connection) -> None:
        self._store = store
        self._open: list[tuple[ScriptCall, asyncio.Future[Any]]] = []
        self._news = asyncio.Event()
        self._gate = asyncio.Semaphore(ROUND_TRIPS_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gathering:
        self._sender = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *details: object) -> None:
        assert self._sender is not None
        self._sender.cancel()
        with suppress(asyncio.CancelledError):
            await self._sender
        self._sender = None
        for _, waiting in self._open:
            waiting.cancel()
        await asyncio.gather(*self._under_way)

    async def run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        if self._sender is None:
            raise StoreUnavailable  # the step is being ended: what is not written now is done again
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = ScriptCall(script, keys, arguments)
        if script == "lease":
            self._open.insert(0, (call, answer))  # a renewal cannot wait: a disk that is slow makes a long queue
        else:
            self._open.append((call, answer))
        self._news.set()
        return await answer

    async def commit(self, change: Change) -> int:
        """When it happened, in ms of Redis' clock. Raises a Conflict when it is refused."""
        return change.outcome(await self.run("commit", *change.arguments()))

    async def _send(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)
            await self._gate.acquire()
            batch, self._open = self._open[:CALLS_AT_ONCE], self._open[CALLS_AT_ONCE:]
            if not self._open:
                self._news.clear()
            task = asyncio.create_task(self._round_trip(batch))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _round_trip(self, batch: list[tuple[ScriptCall, asyncio.Future[Any]]]) -> None:
        answers: list[Any]
        try:
            answers = await self._store.run_many([call for call, _ in batch])
        except Exception as error:  # whatever it is, it is for those who wait
            answers = [error] * len(batch)
        finally:
            self._gate.release()
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
