"""Scripts that many tasks run at the same time: all of two milliseconds go in one round trip.

A delivery step works on thousands of records at once; a connection for each would be waited for longer than
Redis is (connection.py). What one call meets is its own: the others of its round trip have nothing to do with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from tunehook.errors import StoreUnavailable
from tunehook.store.engine.commit import Change

ROUND_TRIPS_AT_ONCE = 2
ASKED_AT_ONCE = 100
Asked = tuple[tuple[tuple[str, ...], ...], asyncio.Future[list[Any]]]
GATHER_SECONDS = 0.002
CALLS_AT_ONCE = 128
SCRIPT_TRIPS_AT_ONCE = 4


class Reads:
    def __init__(self, redis: Redis) -> None:
        self._pool: Any = redis.connection_pool
        self._callbacks = redis.response_callbacks
        self._waiting: list[Asked] = []
        self._travelling = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, *commands: tuple[str, ...]) -> list[Any]:
        """The answers, read one after the other. Raises what redis-py raises; one's mistakes are not another's."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answer))
        if self._travelling < ROUND_TRIPS_AT_ONCE:
            self._travelling += 1
            task = asyncio.create_task(self._travel())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _travel(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:ASKED_AT_ONCE], self._waiting[ASKED_AT_ONCE:]
                try:
                    answers = await self._round_trip([command for commands, _ in asked for command in commands])
                except (ConnectionError, TimeoutError, OSError) as away:
                    # Who waits for the next one has waited for Redis as well: none waits twice for its silence.
                    asked, self._waiting = [*asked, *self._waiting], []
                    answers = [away] * sum(len(commands) for commands, _ in asked)
                except Exception as error:  # whatever it is, it is for those who wait
                    answers = [error] * sum(len(commands) for commands, _ in asked)
                except asyncio.CancelledError:
                    for _, waiting in asked:
                        waiting.cancel()
                    raise
                _hand_out(asked, answers)
        finally:
            self._travelling -= 1

    async def _round_trip(self, commands: list[tuple[str, ...]]) -> list[Any]:
        """On the bare connection: redis-py's pipeline does the same for twice the CPU."""
        connection = await self._pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            answers: list[Any] = []
            for name, *_ in commands:
                try:
                    answer = await connection.read_response()
                    answers.append(self._callbacks[name](answer) if name in self._callbacks else answer)
                except ResponseError as mistake:
                    answers.append(mistake)
            return answers
        finally:
            await self._pool.release(connection)


def _hand_out(asked: list[Asked], answers: list[Any]) -> None:
    at = 0
    for commands, waiting in asked:
        own, at = answers[at : at + len(commands)], at + len(commands)
        if waiting.done():  # whoever asked has gone
            continue
        mistake = next((answer for answer in own if isinstance(answer, Exception)), None)
        if mistake is not None:
            waiting.set_exception(mistake)
        else:
            waiting.set_result(own)


@dataclass(frozen=True)
class ScriptCall:
    script: str
    keys: list[str]
    arguments: list[Any]


class Gathering:
    """`run` and `commit` as the store has them. To be entered before and left after their use."""

    def __init__(self, send: Callable[[list[ScriptCall]], Awaitable[list[Any]]]) -> None:
        self._batch = send
        self._open: list[tuple[ScriptCall, asyncio.Future[Any]]] = []
        self._news = asyncio.Event()
        self._gate = asyncio.Semaphore(SCRIPT_TRIPS_AT_ONCE)
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
            answers = await self._batch([call for call, _ in batch])
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
