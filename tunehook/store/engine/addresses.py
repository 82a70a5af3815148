"""Where Redis is: connections to the one server that a URL names, or to the primary that Sentinels name.

`redis+sentinel://[user:password@]host:port[,host:port…]/name[/db][?sentinel_username=…&sentinel_password=…]`, and
`rediss+sentinel://` with TLS to all of them. Each new connection asks the Sentinels which server is the primary now, in
the order given: after a failover, a connection that is lost or answers READONLY is opened anew at the new primary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel as BlockingSentinel

SENTINEL = "+sentinel://"
SENTINEL_PORT = 26379
#: A Sentinel on a machine that is gone is given up after this time, and the next one is asked.
ASK_SECONDS = 0.3

#: redis-py opens an idle connection that was closed at the other end anew before it sends anything, but only without
#: these notifications of Redis Enterprise: with them, each such connection would cost one request.
NO_NOTIFICATIONS = MaintNotificationsConfig(enabled=False)


@dataclass(frozen=True)
class Sentinels:
    """The parts of a URL with Sentinels."""

    addresses: list[tuple[str, int]]
    name: str  #: of the primary, as the Sentinels know it
    options: dict[str, Any]  #: redis-py's, for connections to the primary
    own: dict[str, Any]  #: redis-py's, for connections to Sentinels
    tls: bool


def uses_sentinel(url: str) -> bool:
    return SENTINEL in url


def parse(url: str) -> Sentinels:
    """Returns the parts of a URL with Sentinels; settings.py has refused a malformed one."""
    scheme, _, rest = url.partition(SENTINEL)
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    user, at, hosts = netloc.rpartition("@")
    name, _, database = path.partition("/")
    asked = dict(parse_qsl(query))
    own = {part: asked.pop(f"sentinel_{part}") for part in ("username", "password") if f"sentinel_{part}" in asked}
    options = parse_url(  # type: ignore[no-untyped-call]
        f"{scheme}://{user}{at}/{database or 0}?{urlencode(asked)}"
    )
    tls = options.pop("connection_class", None) is not None
    own |= {part: value for part, value in options.items() if part.startswith("ssl_")}
    return Sentinels([_address(host) for host in hosts.split(",")], unquote(name), options, own, tls)


def _address(text: str) -> tuple[str, int]:
    """Returns host and port of `host`, `host:port` or `[IPv6]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(SENTINEL_PORT)
    return host.strip("[]"), int(port)


class SentinelPool(BlockingConnectionPool, SentinelConnectionPool):
    """Connections to the primary that Sentinels name; a task waits where all are in use."""

    def __init__(self, found: Sentinels, **options: Any) -> None:
        super().__init__(
            connection_class=SentinelManagedSSLConnection if found.tls else SentinelManagedConnection,
            service_name=found.name,
            sentinel_manager=Sentinel(  # type: ignore[no-untyped-call]
                found.addresses, sentinel_kwargs=_to_sentinels(found, AsyncRetry(NoBackoff(), 0))
            ),
            **found.options,
            **options,
        )

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # at the end
            await self.sentinel_manager.aclose()


def _to_sentinels(found: Sentinels, retry: AsyncRetry | Retry) -> dict[str, Any]:
    return {
        **found.own,
        "ssl": found.tls,
        "retry": retry,
        "driver_info": None,
        "maint_notifications_config": NO_NOTIFICATIONS,
        "socket_timeout": ASK_SECONDS,
        "socket_connect_timeout": ASK_SECONDS,
    }


def open_pool(url: str, *, connections: int, timeout: float) -> BlockingConnectionPool:
    """Returns a pool for asyncio. Nothing is connected yet.

    redis-py retries by default, which runs commands twice when only the reply was lost: no retries here.
    """
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": 1.0,
        "retry": AsyncRetry(NoBackoff(), 0),
        "socket_timeout": timeout,
        "socket_connect_timeout": 0.8,
        "maint_notifications_config": NO_NOTIFICATIONS,
        "driver_info": None,  # for the name that it tells Redis, it would parse its METADATA for each connection
        "decode_responses": True,
    }
    if uses_sentinel(url):
        return SentinelPool(parse(url), **options)
    return BlockingConnectionPool.from_url(url, **options)


def open_blocking(url: str) -> redis.Redis:
    """Returns a connection as RQ needs it: bytes, and no retries by redis-py (they run commands twice)."""
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": 2,
        "socket_timeout": 10,
        "maint_notifications_config": NO_NOTIFICATIONS,
        "driver_info": None,
    }
    if not uses_sentinel(url):
        return redis.Redis.from_url(url, **options)
    found = parse(url)
    own = _to_sentinels(found, Retry(NoBackoff(), 0))
    sentinels = BlockingSentinel(found.addresses, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
    options |= found.options | {"ssl": found.tls}
    primary: redis.Redis = sentinels.master_for(found.name, **options)  # type: ignore[no-untyped-call]
    return primary
