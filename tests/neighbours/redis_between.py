"""A proxy in front of a Redis that lets a test act between what one client reads and what it writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cli.valkey_process import socket_url
from tests.chaos.resp import read_reply, read_unit

#: Called with each command, or all of one transaction, before Redis sees it.
Before = Callable[[list[list[bytes]]], Awaitable[None]]


@asynccontextmanager
async def redis_between(url: str, directory: Path, before: Before) -> AsyncIterator[str]:
    """`url`: the unix socket of a real one. Yields the proxy's own URL, for clients that do not subscribe."""

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(url.removeprefix("unix://").partition("?")[0])
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                raw, commands = await read_unit(reader)
                await before(commands)
                there_writer.write(raw)
                for _ in commands:
                    writer.write(await read_reply(there_reader))
        for open_writer in (writer, there_writer):
            open_writer.transport.abort()

    path = directory / "between.sock"
    server = await asyncio.start_unix_server(_serve, path)
    try:
        yield socket_url(path)
    finally:
        server.close()
