"""An aiohttp server in the test's own loop that leaves no half-made connection behind."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(app: web.Application, port: int = 0, *, shutdown_timeout: float = 0.5) -> AsyncIterator[str]:
    """Yields the server's root URL; `port` 0 takes a free one.

    At the end it stops accepting before it closes. asyncio loses a connection that was accepted in the
    same iteration as the close (python/cpython#109564): a `ResourceWarning` then fails a later test.
    """
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_timeout)
    await runner.setup()
    await web.SockSite(runner, listening, backlog=1024).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        asyncio.get_running_loop().remove_reader(listening)
        for _ in range(3):  # a connection just accepted becomes a transport in the second iteration
            await asyncio.sleep(0)
        await runner.cleanup()
