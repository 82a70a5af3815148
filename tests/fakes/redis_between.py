"""A proxy in front of a Redis that lets a test act between what a client reads and what it writes, or lose answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cli.valkey_process import socket_url
from tests.fakes.resp import read_reply, read_unit

#: Called with each command, or all of one transaction: before Redis sees it, or after it was carried out. An OSError
#: ends the connection, so that the client has no answer.
Act = Callable[[list[list[bytes]]], Awaitable[None]]


@asynccontextmanager
async def redis_between(
    url: str, directory: Path, before: Act | None = None, after: Act | None = None
) -> AsyncIterator[str]:
    """`url`: the unix socket of a real one. Yields the proxy's own URL, for clients that do not subscribe."""

    served: set[asyncio.Task[None] | None] = set()

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        there_reader, there_writer = await asyncio.open_unix_connection(url.removeprefix("unix://").partition("?")[0])
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                raw, commands = await read_unit(reader)
                if before is not None:
                    await before(commands)
                there_writer.write(raw)
                answers = [await read_reply(there_reader) for _ in commands]
                if after is not None:
                    await after(commands)
                writer.writelines(answers)
        for open_writer in (writer, there_writer):
            open_writer.transport.abort()
            with suppress(OSError):
                await open_writer.wait_closed()

    path = directory / "between.sock"
    server = await asyncio.start_unix_server(_serve, path)
    try:
        yield socket_url(path)
    finally:
        server.close()
        await asyncio.gather(*(task for task in served if task))  # its clients are closed by now
