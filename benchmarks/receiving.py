"""A receiver that costs next to nothing: answers 204 to every POST, or under /hang nothing at all.

`python -m benchmarks.receiving` prints its port. GET /arrivals tells when each webhook came, its id and its path,
and forgets it.
"""

from __future__ import annotations

import asyncio
import json
import time

_arrivals: list[tuple[float, str, str]] = []


class _Receiver(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while True:
            head, end, rest = self._read.partition(b"\r\n\r\n")
            if not end:
                return
            lowered = head.lower()
            length = int(_header(lowered, b"content-length") or 0)
            if len(rest) < length:
                return
            self._read = rest[length:]
            if lowered.startswith(b"get /arrivals"):
                self._tell()
            elif not lowered.startswith(b"post /hang"):
                _arrivals.append((time.time(), _header(head, b"webhook-id").decode(), head.split(b" ", 2)[1].decode()))
                self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _tell(self) -> None:
        body = json.dumps(_arrivals).encode()
        _arrivals.clear()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Receiver, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
