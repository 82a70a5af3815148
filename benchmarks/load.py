"""A client that costs little: on a small machine one in full dress would be what is measured."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median, quantiles


@dataclass
class Load:
    """What came back. `ms` is the time of each answer."""

    seconds: float = 0.0
    ms: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def rate(self) -> float:
        return len(self.ms) / self.seconds

    @property
    def p50(self) -> float:
        return median(self.ms)

    @property
    def p99(self) -> float:
        return quantiles(self.ms, n=100)[98]


class _Caller(asyncio.Protocol):
    """One connection: the next request leaves when the last one is answered, until the time is over."""

    def __init__(self, request: bytes, until: float, into: Load) -> None:
        self._request, self._until, self._into = request, until, into
        self._read = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        now = time.perf_counter()
        self._read = b""
        if head.startswith(b"HTTP/1.1 200"):
            self._into.ms.append((now - self._sent) * 1000)
        else:
            self._into.failures += 1
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise AssertionError(f"an answer without Content-Length: {head!r}")


def request(method: str, path: str, *, key: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, sent: bytes, *, seconds: float, connections: int) -> Load:
    """As many of these requests as are answered in that time, on so many connections."""
    loop = asyncio.get_running_loop()
    into, begun = Load(), time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: _Caller(sent, begun + seconds, into), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    into.seconds = time.perf_counter() - begun
    return into
