"""The connection: scripts, changes, and Redis' own time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from tunehook.errors import Conflict, StoreUnavailable
from tunehook.store.engine.batching import Reads, ScriptCall
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease, ended


def _lua(name: str) -> str:
    return Path(__file__).with_name("scripts").joinpath(f"{name}.lua").read_text(encoding="utf-8")


_NAMES = (
    "whole",
    "commit",
    "claim",
    "lease",
    "append",
    "cancel",
    "take",
    "wake",
    "plan",
    "forget_file",
    "forget_copy",
    "upload_begin",
    "upload_part",
)
SCRIPTS = {name: _lua(name) for name in _NAMES}


class Connection:
    """The connection to Redis. `redis` is for the modules of this package alone."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as all that any option could return
        self._reads = Reads(redis)
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}

    @classmethod
    def connect(cls, url: str, *, connections: int = 64, timeout: float = 5.0) -> Self:
        """No command is sent before the first use. Redis that is away is told within a second or `timeout`.

        redis-py retries by default, which runs commands twice when only the reply was lost: no retries here.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=1.0,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=0.8,
            decode_responses=True,
        )
        return cls(Redis(connection_pool=pool))

    async def close(self) -> None:
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    async def ask(self, *commands: tuple[str, ...]) -> list[Any]:
        """The answers of small read commands, in company with others'. See reads.py."""
        with unavailable():
            return await self._reads.ask(*commands)

    async def run(self, script: str, keys_: list[str], arguments: list[Any]) -> Any:
        with unavailable():
            return await self._scripts[script](keys=keys_, args=arguments)

    async def whole(self, command: str, key: str, *arguments: str) -> list[str]:
        """The answer of a read command that gives very many strings. See whole.lua."""
        return list(json.loads(await self.run("whole", [key], [command, *arguments])))

    async def commit(self, change: Change) -> int:
        """Carries out a change; returns when, in ms of Redis' clock. Raises a Conflict when it is refused."""
        keys_, arguments = change.arguments()
        return change.outcome(await self.run("commit", keys_, arguments))

    async def commit_many(self, changes: list[Change]) -> list[int | Conflict]:
        """Several changes in one round trip, each for itself: what refuses one refuses no other."""
        answers = await self.run_many([ScriptCall("commit", *change.arguments()) for change in changes])
        outcomes: list[int | Conflict] = []
        for change, answer in zip(changes, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            try:
                outcomes.append(change.outcome(answer))
            except Conflict as conflict:
                outcomes.append(conflict)
        return outcomes

    async def run_many(self, calls: list[ScriptCall]) -> list[Any]:
        """Several scripts in one round trip; an answer is an exception where its script failed.

        By EVALSHA: redis-py's own pipeline of scripts asks first whether they exist, a round trip more. One that
        Redis has forgotten ran nothing, and is run again by its text.
        """
        with unavailable():
            async with self.redis.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.evalsha(self._scripts[call.script].sha, len(call.keys), *call.keys, *call.arguments)
                answers: list[Any] = await pipe.execute(raise_on_error=False)
        for index, call in enumerate(calls):
            if isinstance(answers[index], NoScriptError):
                answers[index] = await self.run(call.script, call.keys, call.arguments)
        return answers

    async def now_ms(self) -> int:
        with unavailable():
            seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def ping(self) -> None:
        with unavailable():
            await self.redis.ping()

    # ---- leases

    @asynccontextmanager
    async def lease(self, member: str) -> AsyncIterator[Lease]:
        """Raises LeaseTaken at once when somebody else works on it."""
        lease = Lease(self, member)
        await lease.take()
        keeper = asyncio.create_task(lease.keep())
        try:
            yield lease
        finally:
            await ended(keeper)
            await lease.give_back()


#: What a Redis answers that cannot take a write or a command now: the code that its answer begins with, which
#: redis-py cuts off for the errors it knows; inside a script, Redis appends where it happened.
_REFUSALS = ("OOM", "LOADING", "READONLY", "MISCONF", "BUSY", "max number of clients", "NOREPLICAS")
_REFUSAL_CLASSES = (OutOfMemoryError, ReadOnlyError)


class unavailable:  # lower case: it reads as a statement
    """Everything that redis-py raises when Redis is away, full or restarting becomes StoreUnavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        refuses = isinstance(error, _REFUSAL_CLASSES) or str(error).startswith(_REFUSALS)
        if isinstance(error, ResponseError) and not refuses:
            return  # our own mistake (a wrong command, a script that fails): never called "unavailable"
        if isinstance(error, RedisError | OSError | TimeoutError):
            raise StoreUnavailable from error
