"""Redis' client: redis-py's, with its errors turned into ours, and its reads repeated."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    WatchError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as RedisTimeout

from tunehook.errors import StoreRefused, StoreUnavailable

#: Commands that are repeated once when their connection is lost. A write may have been carried out, so it is not.
_READS = """CONFIG GET|EXISTS|GET|HEXISTS|HGET|HGETALL|HLEN|HMGET|INFO|MGET|PING|PTTL|SCAN|SCARD|SMEMBERS|TIME|XRANGE|
XREVRANGE|ZCARD|ZCOUNT|ZMSCORE|ZRANGE|ZRANGEBYSCORE|ZREVRANGE|ZREVRANK|ZSCORE"""
READS = frozenset(_READS.replace("\n", "").split("|"))
#: Answers of a Redis that cannot take a write or a command now: the code that the answer begins with, which
#: redis-py cuts off for the errors it knows; inside a script, Redis appends where it happened.
_REFUSALS = ("OOM", "LOADING", "READONLY", "MISCONF", "BUSY", "max number of clients", "NOREPLICAS", "UNBLOCKED")


def refuses(error: BaseException | None) -> bool:
    return isinstance(error, OutOfMemoryError | ReadOnlyError) or str(error).startswith(_REFUSALS)


def ours(error: BaseException) -> StoreUnavailable:
    """Returns our error for one of Redis; one that no waiting mends says what to correct."""
    if isinstance(error, AuthenticationError):
        return StoreRefused(why=f"user or password in REDIS_URL are wrong ({error})")
    if isinstance(error, ReadOnlyError) or str(error).startswith("READONLY"):
        return StoreRefused(why="it is a read-only replica; REDIS_URL has to name its primary")
    away = StoreUnavailable()
    if isinstance(error, MasterNotFoundError):
        away.at_start = "No Sentinel at REDIS_URL names a primary that is up. Are the name and the addresses right?"
    return away


def is_in_trouble(error: BaseException | None) -> bool:
    """Returns whether an error says that Redis is away, full or takes no writes: a wait, and no mistake of ours."""
    return isinstance(error, ConnectionLost | RedisTimeout) or refuses(error)


class unavailable:  # lower case: it reads as a statement
    """Turns every error of a Redis that is away, full or restarting into StoreUnavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, WatchError) and is_in_trouble(error.__context__):
            raise ours(error) from error  # redis-py's error for a connection lost while it watches; nothing changed
        if isinstance(error, WatchError) or (isinstance(error, ResponseError) and not refuses(error)):
            return  # a key changed; or a mistake of this program (a wrong command, a script that fails)
        if isinstance(error, RedisError | OSError | TimeoutError):
            raise ours(error) from error


class _Pipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        with unavailable():
            return await super().execute(raise_on_error)

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        with unavailable():
            return await super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class Client(Redis):
    """redis-py's client that raises StoreUnavailable itself. Only `pubsub` raises redis-py's own errors."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with unavailable():
            try:
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except ConnectionLost as error:
                if args[0] not in READS or isinstance(error.__cause__, TimeoutError):  # has waited for a connection
                    raise
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
