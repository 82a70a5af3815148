"""A proxy in front of Redis that knows whose connection each is: a unix socket tells the other end's pid."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.chaos.board import Board, Struck
from tests.chaos.names import name_unit
from tests.fakes.resp import read_reply, read_unit

_LIMIT = 64 * 1024 * 1024


class RedisProxy:
    """`away`: None, "refuses" (connections are closed at once) or "hangs" (nothing is answered)."""

    def __init__(self, backend: Path, board: Board) -> None:
        self._backend = backend
        self._board = board
        self.away: str | None = None
        self.commands = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = struct.unpack("3i", credentials)[0]
        up_writer = None
        try:
            if self.away == "refuses":
                return
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._backend), limit=_LIMIT)
            await self._pass_on(pid, reader, writer, up_reader, up_writer)
        except (Struck, asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            for open_writer in (writer, up_writer):
                if open_writer is not None:
                    open_writer.transport.abort()

    async def _pass_on(
        self,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        coming = asyncio.ensure_future(read_unit(reader))
        try:
            while True:
                raw, commands = await coming
                self.commands += len(commands)
                while self.away == "hangs":  # noqa: ASYNC110  a test's switch, not an event
                    await asyncio.sleep(0.05)
                if self.away:
                    return
                what = name_unit(commands)
                texts = [b" ".join(command) for command in commands]
                for command in commands:
                    self._board.whose.of_enqueued(command)
                if what:
                    await self._board.see(pid, what, "before", texts)
                up_writer.write(raw)
                coming = asyncio.ensure_future(read_unit(reader))
                if commands[0][0].upper() in (b"SUBSCRIBE", b"PSUBSCRIBE"):
                    await self._both_ways(coming, writer, up_reader, up_writer)
                    return
                reply = await self._replies(len(commands), coming, up_reader)
                if what:
                    await self._board.see(pid, what, "after", [*texts, reply])
                writer.write(reply)
                await writer.drain()
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
                await coming

    async def _replies(
        self, count: int, coming: asyncio.Future[tuple[bytes, list[list[bytes]]]], up_reader: asyncio.StreamReader
    ) -> bytes:
        """A client that goes away while it waits takes its connection with it, as it would without us."""

        async def _read() -> bytes:
            return b"".join([await read_reply(up_reader) for _ in range(count)])

        reading = asyncio.ensure_future(_read())
        try:
            both: list[asyncio.Future[Any]] = [reading, coming]
            await asyncio.wait(both, return_when="FIRST_COMPLETED")
            if not reading.done() and coming.exception() is not None:
                raise ConnectionResetError
            return await reading
        finally:
            reading.cancel()

    async def _both_ways(
        self,
        coming: asyncio.Future[tuple[bytes, list[list[bytes]]]],
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        """A subscription: whatever comes is passed on, and so is the little that its client still says."""

        async def _down() -> None:
            while data := await up_reader.read(65536):
                if self.away:
                    return
                writer.write(data)

        down: asyncio.Future[None] = asyncio.ensure_future(_down())
        try:
            while not down.done():
                ends: list[asyncio.Future[Any]] = [down, coming]
                await asyncio.wait(ends, return_when="FIRST_COMPLETED")
                if coming.done() and not down.done():
                    raise ConnectionResetError  # it says no more than UNSUBSCRIBE, at its end
        finally:
            down.cancel()


@asynccontextmanager
async def redis_proxy(backend: Path, path: Path, board: Board) -> AsyncIterator[RedisProxy]:
    proxy = RedisProxy(backend, board)
    server = await asyncio.start_unix_server(proxy.serve, path, limit=_LIMIT)
    try:
        yield proxy
    finally:
        server.close()
