"""Connections to Redis that died while they were idle, or with a command under way."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fakes.redis_between import redis_between
from tests.fakes.valkey import Valkey, valkey_server
from tunehook.errors import StoreUnavailable
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.store import Store

CONNECTIONS = 10


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with valkey_server(tmp_path / "valkey", port=0) as server:
        yield server


async def _open_connections(store: Store) -> None:
    await asyncio.gather(*(store.redis.set(f"key-{number}", number) for number in range(CONNECTIONS)))
    assert len(store.redis.connection_pool._available_connections) == CONNECTIONS


@pytest.mark.parametrize("how", ["restart", "timeout"])
async def test_an_idle_connection_that_was_closed_costs_no_request(own_valkey: Valkey, how: str) -> None:
    assert own_valkey.tcp_url is not None  # redis-py behaves otherwise on a unix socket
    store = Store.connect(own_valkey.tcp_url)
    rq = open_blocking(own_valkey.tcp_url)
    rq.ping()
    await _open_connections(store)
    if how == "restart":
        await asyncio.to_thread(own_valkey.restart)
    else:
        await store.redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.1)
    writes = [store.redis.incr("th:counter") for _ in range(CONNECTIONS)]
    assert sorted(await asyncio.gather(*writes)) == list(range(1, CONNECTIONS + 1))
    assert await store.ask(("GET", "key-1")) == ["1"]
    assert rq.incr("th:counter") == CONNECTIONS + 1
    rq.close()
    await store.close()


async def test_a_read_is_repeated_once_and_a_write_never(valkey: Valkey, tmp_path: Path) -> None:
    seen: list[bytes] = []
    failures = 0

    async def _lose(commands: list[list[bytes]]) -> None:
        nonlocal failures
        name = commands[0][0]
        if name in (b"GET", b"HGETALL", b"INCRBY") and failures:
            failures -= 1
            seen.append(name)
            raise ConnectionResetError

    async with redis_between(valkey.url, tmp_path, after=_lose) as url, AsyncExitStack() as stack:
        store = Store.connect(url)
        stack.push_async_callback(store.close)
        await store.redis.set("th:key", "1")
        failures = 1
        assert await store.ask(("GET", "th:key")) == ["1"]
        failures = 1
        assert await store.redis.hgetall("th:none") == {}
        failures = 2
        with pytest.raises(StoreUnavailable):
            await store.ask(("GET", "th:key"))
        failures = 1
        with pytest.raises(StoreUnavailable):
            await store.redis.incr("th:counter")
        assert await store.redis.get("th:counter") == "1"
    assert seen == [b"GET", b"HGETALL", b"GET", b"GET", b"INCRBY"]
