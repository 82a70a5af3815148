"""The connection to Redis: round trips, scripts, commits, leases, and the time of Redis' clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, Self

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import NoScriptError, ResponseError

from tunehook.errors import CommitUnconfirmed, Conflict
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_pool, uses_sentinel
from tunehook.store.engine.batching import GATHER_SECONDS, SCRIPT_TRIPS_AT_ONCE, Batcher, without_error
from tunehook.store.engine.client import Client, ours, refuses, unavailable
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease, ended
from tunehook.store.engine.scripts import Command, call, has_to_last, with_texts

#: The commands of one `ask`.
Reading = tuple[Command, ...]
#: Reads of this task that were sent before they are asked for: the answers of all of them, and where its own begin.
_AHEAD: ContextVar[dict[Reading, tuple[asyncio.Future[list[Any]], int]] | None] = ContextVar("_AHEAD", default=None)
#: One connection in so many is kept out of the pool while it is idle: the pool's lock and clocks cost 30 µs a time.
KEPT_SHARE = 4
#: Of the time after which a Redis that does not answer counts as away, replicas have so much.
CONFIRM_SHARE = 0.7
#: A replica says what it has on its disk when a client begins to wait, and else once a second. One that is asked in the
#: moment of its write says so too early: it is asked after the reply, and again after this time.
CONFIRM_AGAIN_MS = 5


class Connection:
    """The connection to Redis. Only the modules of this package use `redis`.

    With `replicas`, what is answered or acted upon outside is on the disks of so many replicas as well: WAITAOF follows
    such scripts on their own connection, since it waits for that connection's writes alone.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as all that any option could return
        self._callbacks = dict(redis.response_callbacks)  # redis-py's own looks for a name in any case
        self._reads = Batcher(self._read)
        self._new = Batcher(self.send, at_once=SCRIPT_TRIPS_AT_ONCE)
        self._kept: list[Any] = []  #: connections that are not in use now
        self.replicas = 0
        self.may_fail_over = False  #: another server may become the primary
        self.confirm_seconds = 0.0  #: so long replicas are waited for

    @classmethod
    def connect(cls, url: str, *, connections: int = 64, timeout: float = 5.0, replicas: int = 0) -> Self:
        """Sends no command before the first use, which without Redis raises within a second or `timeout`."""
        store = cls(Client(connection_pool=open_pool(url, connections=connections, timeout=timeout)))
        store.replicas, store.may_fail_over = replicas, replicas > 0 or uses_sentinel(url)
        store.confirm_seconds = timeout * CONFIRM_SHARE
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    async def send(self, commands: list[Command]) -> list[Any]:
        """Carries out commands in one round trip; an answer is an exception where its command failed.

        Uses the bare connection: redis-py's pipeline does the same for twice the CPU. A script that Redis does not
        know ran nothing, and is run again by its text. Where replicas do not confirm in time, the answer of a script
        that they have to confirm is CommitUnconfirmed: it may have been carried out, or refused, and last or not.
        """
        lasting = self.replicas > 0 and any(map(has_to_last, commands))
        with unavailable():
            answers = await self._round_trip(commands, lasting=lasting)
        if lasting and not self._is_confirmed(answers.pop()):
            for index, command in enumerate(commands):
                if has_to_last(command) and not isinstance(answers[index], Exception):
                    answers[index] = CommitUnconfirmed()
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self.send(with_texts([commands[index] for index in unknown]))
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    async def confirm(self) -> None:
        """Returns once the replicas have all that was written before. Without `replicas`, it sends no command.

        Raises CommitUnconfirmed when they do not confirm in time.
        """
        if not self.replicas:
            return
        with unavailable():
            written, reached = await self._round_trip([("SET", keys.CONFIRMED, 1)], lasting=True)
        for answer in (written, reached):
            if isinstance(answer, Exception):
                raise answer
        if not self._is_confirmed(reached):
            raise CommitUnconfirmed

    async def _wait_for_replicas(self, connection: Any) -> Any:
        """Returns how many primaries and replicas have this connection's writes on disk; an error if it is demoted."""
        until = time.monotonic() + self.confirm_seconds
        while True:
            [reached] = await self._exchange(connection, [("WAITAOF", 0, self.replicas, CONFIRM_AGAIN_MS)])
            if isinstance(reached, Exception) or self._is_confirmed(reached) or time.monotonic() > until:
                return reached

    def _is_confirmed(self, reached: list[int] | Exception) -> bool:
        return not isinstance(reached, Exception) and reached[1] >= self.replicas

    async def _read(self, commands: list[Command]) -> list[Any]:
        with unavailable():
            return await self._round_trip(commands, reads=True)

    async def _round_trip(self, commands: list[Command], *, reads: bool = False, lasting: bool = False) -> list[Any]:
        """Carries out commands; `reads` once more if the connection is lost. `lasting`: WAITAOF's answer comes last."""
        async with self._connection() as connection:
            try:
                answers = await self._exchange(connection, commands)
            except ConnectionLost:
                if not reads:
                    raise
                answers = await self._exchange(connection, commands)
            return [*answers, await self._wait_for_replicas(connection)] if lasting else answers

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """Lends a connection, one of those kept if there is one: none is where another server may become primary."""
        pool = self.redis.connection_pool
        connection = self._kept.pop() if self._kept else None
        try:
            if connection is None:
                connection = await pool.get_connection()
            else:
                await pool.ensure_connection(connection)  # opens one anew that was closed at the other end
            yield connection
        finally:
            if connection is not None:
                if not self.may_fail_over and len(self._kept) < pool.max_connections // KEPT_SHARE:
                    self._kept.append(connection)
                else:
                    await pool.release(connection)

    async def _exchange(self, connection: Any, commands: list[Command]) -> list[Any]:
        """Sends the commands, and reads their answers within one timeout: one for each costs 15 µs an answer."""
        seconds = connection.socket_timeout
        await connection.send_packed_command(b"".join(map(pack_command, commands)))
        answers: list[Any] = []
        try:
            async with asyncio.timeout(seconds):
                for name, *_ in commands:
                    try:
                        answer = await connection.read_response(timeout=inf)
                        callback = self._callbacks.get(name)
                        answers.append(answer if callback is None else callback(answer))
                    except ResponseError as error:
                        answers.append(ours(error) if refuses(error) else error)
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise
        return answers

    async def ask(self, *commands: Command) -> list[Any]:
        """Returns the answers of small read commands, batched with those of other tasks."""
        sent = (_AHEAD.get() or {}).pop(commands, None)
        if sent is None:
            return await self._reads.ask(*commands)
        whole, place = sent
        # Shielded: the others of them are asked for by themselves.
        answers = whole.result() if whole.done() else await asyncio.shield(whole)
        return without_error(answers[place : place + len(commands)])

    async def read(self, commands: Iterable[Command]) -> list[Any]:
        """Returns the answers of many read commands, in a round trip of their own."""
        asked = list(commands)
        return without_error(await self._read(asked)) if asked else []

    @contextmanager
    def reading_ahead(self, readings: Iterable[Reading]) -> Iterator[None]:
        """Sends reads that will be asked for in this block: they travel with the first of them, in one round trip.

        `ask` of the same commands takes their answer once. Answers that are not asked for are dropped.
        """
        commands: list[Command] = []
        places: dict[Reading, int] = {}
        for reading in readings:
            places[reading] = len(commands)
            commands += reading
        if not commands:
            yield
            return
        whole = self._reads.begin(*commands)
        before = _AHEAD.set({reading: (whole, place) for reading, place in places.items()})
        try:
            yield
        finally:
            _AHEAD.reset(before)
            whole.cancel()

    def batcher(self) -> Batcher:
        """Returns a batcher for the scripts of one step, to be entered before and left after its use.

        Only the batch that failed fails: what still waits is a result that would be lost.
        """
        return Batcher(self.send, at_once=SCRIPT_TRIPS_AT_ONCE, gather_seconds=GATHER_SECONDS, fail_queued=False)

    async def run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        """Runs a script. Raises what it raised, or StoreUnavailable."""
        [answer] = without_error(await self.send([call(script, keys, arguments)]))
        return answer

    async def hashes(self, names: list[str]) -> list[dict[str, str]]:
        """Returns what each of these hashes holds, all in one answer."""
        rows = await self.run("hashes", names, []) if names else []
        return [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]

    async def commit(self, change: Change) -> int:
        """Carries out a change; returns when, in ms of Redis' clock. Raises a Conflict when it is refused."""
        if change.revision:
            return change.outcome(await self.run("commit", *change.arguments()))
        [answer] = await self._new.ask(call("commit", *change.arguments()))  # they come in bursts of requests
        return change.outcome(answer)

    async def commit_many(self, changes: list[Change]) -> list[int | Conflict]:
        """Carries out changes in one round trip. Each is refused or not by itself."""
        outcomes: list[int | Conflict] = []
        answers = await self.send([call("commit", *change.arguments()) for change in changes])
        for change, answer in zip(changes, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            try:
                outcomes.append(change.outcome(answer))
            except Conflict as conflict:
                outcomes.append(conflict)
        return outcomes

    async def now_ms(self) -> int:
        seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def ping(self) -> None:
        await self.redis.ping()

    # ---- leases

    @asynccontextmanager
    async def lease(self, member: str) -> AsyncIterator[Lease]:
        """Holds a lease while its block runs. Raises LeaseTaken at once when another holder has it."""
        lease = Lease(self, member)
        await lease.take()
        keeper = asyncio.create_task(lease.keep())
        try:
            yield lease
        finally:
            await ended(keeper)
            await lease.give_back()
