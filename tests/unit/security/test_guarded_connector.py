"""The socket's guard, against a real listening server that counts connections, and resolvers that lie."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import chain, repeat

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.unit.security.hostile_addresses import ADDRESSES, HOSTS
from tunehook.security.allow_list import AllowList
from tunehook.security.ssrf import AddressRefused, SocketRefused, check_address, guarded_connector

NOTHING = AllowList()
PUBLIC = "93.184.216.34"
# Bound to loopback, no packet for a public address leaves this machine: the kernel says EINVAL at once.
AT_HOME = ("127.0.0.1", 0)


class Listener:
    """An HTTP server on 127.0.0.1 that answers 204, or redirects where it is told, and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self.redirect_to: str | None = None

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            if self.redirect_to:
                writer.write(f"HTTP/1.1 307 Go\r\nLocation: {self.redirect_to}\r\n".encode())
                writer.write(b"Content-Length: 0\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listening = Listener()
    server = await asyncio.start_server(listening.answer, "127.0.0.1", 0)
    listening.port = server.sockets[0].getsockname()[1]
    yield listening
    server.close()


class LyingResolver(AbstractResolver):
    """Answers each time with the next list of addresses."""

    def __init__(self, answers: Iterator[list[str]]) -> None:
        self.answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in next(self.answers)
        ]

    async def close(self) -> None:
        pass


def always(*addresses: str) -> LyingResolver:
    return LyingResolver(repeat(list(addresses)))


async def post(connector: aiohttp.TCPConnector, url: str) -> int:
    async with (
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
        session.post(url, allow_redirects=False) as response,
    ):
        return response.status


async def assert_nothing_came(listener: Listener) -> None:
    """The count is true: connections are accepted in order, and one made now is the first to be seen."""
    assert await post(aiohttp.TCPConnector(), f"http://127.0.0.1:{listener.port}/") == 204
    assert listener.connections == 1


@pytest.mark.parametrize("host", HOSTS)
async def test_no_hostile_url_reaches_the_server(listener: Listener, host: str) -> None:
    # The resolver answers anything with loopback: whatever the URL's parser makes of it would arrive.
    connector = guarded_connector(NOTHING, resolver=always("127.0.0.1"), local_addr=AT_HOME)
    with pytest.raises((aiohttp.ClientError, ValueError, OSError)):
        await post(connector, f"http://{host}:{listener.port}/")
    await assert_nothing_came(listener)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_no_name_leads_to_an_address_that_is_not_public(address: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await post(guarded_connector(NOTHING, resolver=always(address)), "http://you.example/")
    assert isinstance(caught.value.os_error, SocketRefused)
    assert isinstance(caught.value.os_error, AddressRefused)
    assert "TUNEHOOK_WEBHOOK_ALLOW" in str(caught.value)


# What a name may turn to after it was looked at; `True`: without the guard this reaches 127.0.0.1 on Linux.
TURNS = [
    (["127.0.0.1"], True),
    (["0.0.0.0"], True),  # noqa: S104
    (["127.0.0.1", PUBLIC], True),
    ([PUBLIC, "127.0.0.1"], True),
    ([PUBLIC, "127.0.0.1", "0.0.0.0"], True),  # noqa: S104
    (["localhost"], True),
    (["127.1"], True),
    (["2130706433"], True),
    (["::1"], False),
    (["::ffff:127.0.0.1"], False),
]


async def test_a_hundred_rebinding_tries_make_no_connection(listener: Listener) -> None:
    for addresses, _ in TURNS * 10:
        resolver = LyingResolver(chain([[PUBLIC]], repeat(addresses)))
        for answer in await resolver.resolve("rebinding.example"):
            check_address(answer["host"])  # looked at once, all is well; and now it turns
        connector = guarded_connector(NOTHING, resolver=resolver, local_addr=AT_HOME)
        with pytest.raises(aiohttp.ClientConnectorError):
            await post(connector, f"http://rebinding.example:{listener.port}/")
    await assert_nothing_came(listener)


@pytest.mark.parametrize("addresses", [addresses for addresses, reaches in TURNS if reaches])
async def test_without_the_guard_the_same_tries_arrive(listener: Listener, addresses: list[str]) -> None:
    connector = aiohttp.TCPConnector(resolver=always(*addresses), local_addr=AT_HOME)
    assert await post(connector, f"http://rebinding.example:{listener.port}/") == 204
    assert listener.connections == 1


async def test_a_name_that_turns_between_two_requests_of_one_session(listener: Listener) -> None:
    resolver = LyingResolver(chain([[PUBLIC]], repeat(["127.0.0.1"])))
    connector = guarded_connector(NOTHING, resolver=resolver, local_addr=AT_HOME, use_dns_cache=False)
    refusals = []
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.post(f"http://rebinding.example:{listener.port}/")
            refusals.append(isinstance(caught.value.os_error, SocketRefused))
    assert refusals == [False, True]  # the first address was tried, and failed in the kernel
    await assert_nothing_came(listener)


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "receiver"])
async def test_what_the_operator_lists_is_reached(listener: Listener, entry: str) -> None:
    connector = guarded_connector(AllowList.parse(entry), resolver=always("127.0.0.1"))
    assert await post(connector, f"http://receiver:{listener.port}/") == 204


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "127.0.0.1"]])
async def test_a_listed_name_permits_its_own_requests_and_no_others(listener: Listener, addresses: list[str]) -> None:
    """Side by side, one after the other with connections kept, and through a redirect."""
    connector = guarded_connector(AllowList.parse("receiver"), resolver=always(*addresses), local_addr=AT_HOME)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def reach(host: str) -> bool:
            try:
                async with session.post(f"http://{host}:{listener.port}/") as response:
                    return response.status == 204
            except aiohttp.ClientConnectorError:
                return False

        hosts = ["receiver", "other.example"] * 10
        assert await asyncio.gather(*map(reach, hosts)) == [True, False] * 10
        assert [await reach(host) for host in hosts] == [True, False] * 10
        assert await reach("RECEIVER")
        listener.redirect_to = f"http://other.example:{listener.port}/"
        assert not await reach("receiver")


async def test_a_listed_network_permits_literals_in_it_alone(listener: Listener) -> None:
    allow = AllowList.parse("127.0.0.0/30")
    assert await post(guarded_connector(allow), f"http://127.0.0.1:{listener.port}/") == 204
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(guarded_connector(allow), f"http://127.0.0.4:{listener.port}/")
