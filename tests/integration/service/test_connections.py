"""Connections that say nothing, or too slowly, take nothing from the others."""

import asyncio
import logging
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from service.connections import listening, most_connections
from tests.integration.service.conftest import DATASET, Api

HEAD = b"GET /livez HTTP/1.1\r\nhost: a\r\n"
SOON = 0.4


async def live(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def long(request: web.Request) -> web.Response:
    await asyncio.sleep(2.5 * SOON)
    return web.Response(text="ok")


@asynccontextmanager
async def served(most: int = 20, head_seconds: float = 60.0) -> AsyncIterator[tuple[str, int]]:
    app = web.Application()
    app.router.add_get("/livez", live)
    app.router.add_get("/long", long)
    async with listening(app, "127.0.0.1", 0, most=most, head_seconds=head_seconds) as [address]:
        yield address


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    content = b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(120):
            while piece := await reader.read(1000):
                content += piece
    return content


async def test_a_connection_without_a_byte_and_one_whose_head_trickles_are_closed() -> None:
    async with served(head_seconds=SOON) as address:
        silent, idle = await asyncio.open_connection(*address)
        slow, writer = await asyncio.open_connection(*address)

        async def trickle() -> None:
            for byte in HEAD + b"x: " + b"a" * 1000:
                writer.write(bytes([byte]))
                await asyncio.sleep(SOON / 20)

        trickling = asyncio.create_task(trickle())
        begun = time.monotonic()
        assert [await until_closed(reader) for reader in (silent, slow)] == [b"", b""]
        assert time.monotonic() - begun >= SOON * 0.9
        trickling.cancel()
        for one in (idle, writer):
            one.close()


async def test_a_request_that_takes_longer_and_a_connection_that_was_used_are_not_closed_so_soon() -> None:
    async with served(head_seconds=SOON) as address, aiohttp.ClientSession() as session:
        root = f"http://{address[0]}:{address[1]}"
        async with session.get(f"{root}/long") as answer:
            assert await answer.text() == "ok"
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(2):
            writer.write(HEAD + b"\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(2 * SOON)
        writer.close()


async def test_above_the_limit_the_oldest_idle_one_goes_and_a_request_is_still_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(most=20) as address, aiohttp.ClientSession() as session:
        root = f"http://{address[0]}:{address[1]}"
        busy = asyncio.create_task(session.get(f"{root}/long"))
        await asyncio.sleep(0.1)
        silent = [await asyncio.open_connection(*address) for _ in range(50)]
        async with session.get(f"{root}/livez") as answer:
            assert answer.status == 200
        closed = await asyncio.gather(*(until_closed(reader) for reader, _ in silent[:31]))
        assert closed == [b""] * 31
        assert not any(reader.at_eof() for reader, _ in silent[35:])
        assert (await busy).status == 200
        for _, writer in silent:
            writer.close()
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "20 connections" in told[0].getMessage()


async def test_where_all_are_busy_a_new_one_is_refused() -> None:
    async with served(most=3) as address, aiohttp.ClientSession() as session:
        root = f"http://{address[0]}:{address[1]}"
        busy = [asyncio.create_task(session.get(f"{root}/long")) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{root}/livez")
        assert [(await answer).status for answer in busy] == [200] * 3
        assert (await session.get(f"{root}/livez")).status == 200


def test_the_limit_leaves_descriptors_for_files_and_is_raised_at_the_start() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
        most = most_connections()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == min(hard, 8192 + 384)
        assert most <= soft - 384
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def first_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    for _ in range(1000):
        if told := [record for record in caplog.records if record.name != "asyncio"]:
            return told
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was logged")


async def test_a_client_that_hangs_up_in_its_upload_is_one_line(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    host, _, port = api.root.removeprefix("http://").partition(":")
    head = f"authorization: Bearer {api.key}\r\nhost: a\r\ncontent-length: 100000\r\n"
    form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + DATASET[:500]
    uploads = {
        "/v1/files": ("multipart/form-data; boundary=b", form),
        "/v1/datasets": ("multipart/form-data; boundary=b", form),
        "/v1/fine_tuning/jobs": ("application/json", b'{"model":'),
    }
    for path, (content_type, content) in uploads.items():
        for abruptly in (True, False):
            caplog.clear()
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"POST {path} HTTP/1.1\r\n{head}content-type: {content_type}\r\n\r\n".encode() + content)
            await writer.drain()
            await asyncio.sleep(0.1)
            if abruptly:
                writer.transport.abort()
            writer.close()
            told = await first_records(caplog)
            assert [(record.levelno, record.exc_info) for record in told] == [(logging.INFO, None)], path
            assert told[0].getMessage().startswith(f"POST {path} → closed by the client")
