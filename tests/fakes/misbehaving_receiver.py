"""A receiver that misbehaves, by path; raw sockets, so that it can do what no HTTP server does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

HUGE = 100_000_000


class Misbehaving:
    """`seen` lists the paths that were posted to; `sent` is how much of a huge answer went out."""

    def __init__(self) -> None:
        self.root = ""
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.sent = 0
        self.news = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                path = head.split(" ")[1]
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                self.seen.append(path)
                self.ids.append(headers["webhook-id"])
                self.news.set()
                await self._answer(path, writer)
        writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        match path.strip("/"):
            case "hang":
                await asyncio.sleep(3600)
            case "garbage":
                writer.write(b"\x00\xff SSH-2.0 this is not HTTP\r\n\r\n")
            case "reset":
                writer.transport.abort()
                raise ConnectionResetError
            case "huge":
                writer.write(f"HTTP/1.1 500 Oops\r\nContent-Length: {HUGE}\r\n\r\n".encode())
                while self.sent < HUGE:
                    writer.write(b"x" * 65536)
                    self.sent += 65536
                    await writer.drain()
            case "301":
                writer.write(f"HTTP/1.1 301 Moved\r\nLocation: {self.root}/moved\r\nContent-Length: 0\r\n\r\n".encode())
            case "429":
                writer.write(b"HTTP/1.1 429 Slow\r\nRetry-After: 120\r\nContent-Length: 4\r\n\r\nslow")
            case "204-and-body":
                writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
            case "204-and-chunks":
                writer.write(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            case "204-and-close":
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\nok")
            case status:
                writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: 5\r\n\r\nhello".encode())
        await writer.drain()

    def close(self) -> None:
        for writer in self._connections:
            writer.transport.abort()


@asynccontextmanager
async def misbehaving() -> AsyncIterator[Misbehaving]:
    receiver = Misbehaving()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        receiver.close()
        await asyncio.sleep(0)
