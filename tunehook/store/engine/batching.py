"""Batches Redis commands: the commands of many tasks go in one round trip.

The API asks for small reads, a delivery step runs scripts on thousands of records at once. A connection for each would
be waited for longer than Redis itself (connection.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from tunehook.errors import StoreUnavailable
from tunehook.store.engine.commit import Change
from tunehook.store.engine.scripts import Command, call

#: Requests in one round trip.
BATCH = 128
READ_TRIPS_AT_ONCE = 2
SCRIPT_TRIPS_AT_ONCE = 4
GATHER_SECONDS = 0.002

Request = tuple[tuple[Command, ...], "asyncio.Future[list[Any]]"]


class Batcher:
    """Sends requests in batches and gives each its own answers. An error in one request affects no other.

    `send` carries out a list of commands in one round trip; an answer is an exception where a command failed.
    A request travels at once while fewer than `at_once` round trips are under way, after `gather_seconds`.
    With `fail_queued`, requests that wait while Redis times out fail with the batch that timed out.
    As a context manager it is closed at the end: then it accepts nothing more.
    """

    def __init__(
        self,
        send: Callable[[list[Command]], Awaitable[list[Any]]],
        *,
        at_once: int = READ_TRIPS_AT_ONCE,
        gather_seconds: float = 0.0,
        fail_queued: bool = True,
    ) -> None:
        self._send, self._at_once, self._fail_queued = send, at_once, fail_queued
        self._gather_seconds = gather_seconds
        self._queue: deque[Request] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_gathering = False
        self._closed = False

    async def __aenter__(self) -> Batcher:
        return self

    async def __aexit__(self, *details: object) -> None:
        self._closed = True
        for _, waiting in self._queue:
            waiting.cancel()
        self._queue.clear()
        await asyncio.gather(*self._under_way)

    async def ask(self, *commands: Command, first: bool = False) -> list[Any]:
        """Returns the answers in order, or raises the first error. With `first`, travels with the next batch."""
        return without_error(await self.begin(*commands, first=first))

    def begin(self, *commands: Command, first: bool = False) -> asyncio.Future[list[Any]]:
        """Returns the future of the answers, with an exception for each command that failed."""
        if self._closed:
            raise StoreUnavailable  # the step is ending: a later step does again what is not written now
        waiting: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)((commands, waiting))
        self._begin()
        return waiting

    async def run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        """Runs a script. A lease goes first: it cannot wait behind the long queue of a slow disk."""
        [answer] = await self.ask(call(script, keys, arguments), first=script == "lease")
        return answer

    async def commit(self, change: Change) -> int:
        """Returns when it happened, in ms of Redis' clock. Raises a Conflict when it is refused."""
        return change.outcome(await self.run("commit", *change.arguments()))

    def _begin(self) -> None:
        if self._queue and not self._is_gathering and len(self._under_way) < self._at_once:
            self._is_gathering = True
            task = asyncio.create_task(self._round_trip())
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._begin()

    async def _round_trip(self) -> None:
        if self._gather_seconds:
            await asyncio.sleep(self._gather_seconds)
        self._is_gathering = False
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        self._begin()
        try:
            answers = await self._send([command for commands, _ in batch for command in commands]) if batch else []
        except asyncio.CancelledError:
            for _, waiting in batch:
                waiting.cancel()
            raise
        except Exception as error:
            if self._fail_queued and isinstance(error, StoreUnavailable):
                # Requests queued for the next batch have already waited one timeout, so fail them too.
                batch += self._queue
                self._queue.clear()
            answers = [error] * sum(len(commands) for commands, _ in batch)
        _distribute(batch, answers)


def _distribute(batch: list[Request], answers: list[Any]) -> None:
    begin = 0
    for commands, waiting in batch:
        end = begin + len(commands)
        if not waiting.done():  # else its task was cancelled
            waiting.set_result(answers[begin:end])
        begin = end


def without_error(answers: list[Any]) -> list[Any]:
    """Returns the answers. Raises the first error among them."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
