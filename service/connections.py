"""Connections to the API: their number is bounded, silent ones are closed, and malformed requests get an error body.

aiohttp has a time limit for idle connections alone, and no limit for their number: at the limit of descriptors,
asyncio logs thousands of tracebacks a second, and nothing is accepted any more.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMethod,
    BadStatusLine,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
)

from service.error_responses import answer
from service.requests import STREAMED
from tunehook.errors import ExpectationUnknown, MalformedRequest
from tunehook.settings import SettingsError

log = logging.getLogger("tunehook.api")

SHUTDOWN_SECONDS = 20.0
#: From the connection to the end of the first head.
HEAD_SECONDS = 15.0
#: Between two requests, and for a later head: longer than proxies keep idle connections (nginx, AWS: 60 s; Traefik:
#: 90 s; Caddy: 120 s), or they would send a request into one that is being closed.
IDLE_SECONDS = 130.0
#: A client that takes nothing of its answer for so long is gone.
STUCK_SECONDS = 60.0
#: An idle connection takes 10 to 20 KiB.
MOST_CONNECTIONS = 8192
#: Descriptors that are kept for files, for Redis, for upstreams, and for 128 connections accepted at once.
RESERVED = 384
#: Between two log lines about too many connections.
QUIET_SECONDS = 10.0

_WORDS: dict[type[Exception], str] = {
    LineTooLong: "a line of its head is longer than 8190 bytes",
    InvalidHeader: "one of its headers is malformed",
    InvalidURLError: "its URL is malformed",
    BadStatusLine: "its first line is not that of an HTTP/1.1 request",
}


def reason(error: Exception) -> str:
    """Returns why a request cannot be read, in words that hold no byte of it: it may hold a key."""
    kind = next((kind for kind in type(error).__mro__ if kind in _WORDS), None)
    if kind:
        return _WORDS[kind]
    quotes = r"[:\n]" if isinstance(error, HttpProcessingError) else r"[:\n]|\bb?['\"]|['\"]"
    return re.split(quotes, str(getattr(error, "message", error)))[0].strip(" .")[:120]


def most_connections() -> int:
    """Raises the soft limit of descriptors towards the hard one; returns how many of them connections may take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + RESERVED
    if 0 <= soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(MOST_CONNECTIONS, max(soft - RESERVED, soft // 2)) if soft >= 0 else MOST_CONNECTIONS


class Connections:
    """Makes the protocol of each new connection. Above `most`, the oldest that waits for a head is closed for it."""

    def __init__(self, server: web.Server, most: int, head_seconds: float) -> None:
        self.server = server
        self.most = most
        self.head_seconds = head_seconds
        self._open: dict[Connection, None] = {}  # the oldest first
        self._quiet_until = 0.0

    def __call__(self) -> Connection:
        return Connection(self)

    def add(self, new: Connection) -> None:
        self._open[new] = None
        if len(self._open) <= self.most:
            return
        closed = next((connection for connection in self._open if connection.waits_for_head), new)
        self.remove(closed)
        closed.force_close()
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            log.warning(
                "%d connections are open, which is the limit: idle ones are closed for new ones. The proxy must limit "
                "connections by client, or the limit of descriptors (ulimit -n) must be raised.",
                self.most,
            )

    def remove(self, connection: Connection) -> None:
        self._open.pop(connection, None)


class Connection(web.RequestHandler):
    """One connection: aiohttp's, with a time limit for the first head, and our errors instead of its own."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(
            connections.server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_SECONDS,
            access_log=None,  # type: ignore[arg-type]
            lingering_time=2,
            auto_decompress=False,  # what is compressed is refused
        )
        self._connections = connections
        self._answered = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stuck_timer: asyncio.TimerHandle | None = None

    @property
    def waits_for_head(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._connections.head_seconds, self._head_is_late)
        self._connections.add(self)

    def _head_is_late(self) -> None:
        if not self._answered and self.waits_for_head:
            self.force_close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._stuck_timer = self._loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        for timer in (self._head_timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        self._connections.remove(self)
        if self._current_request is not None and STREAMED in self._current_request:
            self._current_request.task.cancel()  # its next comment would tell, up to 15 s later: so long it would count
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._answered = True
        if isinstance(resp, web.HTTPExpectationFailed):  # raised before any middleware
            resp = answer(ExpectationUnknown())
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers a request that could not be read. Raises ConnectionError when an answer has begun."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._note(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        response = answer(MalformedRequest(why=reason(exc)))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Logs an error. A traceback is for errors of ours: a client's is one line."""
        error = kw.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            self._note(error)
        elif not isinstance(error, ConnectionError):  # the client went; its request is logged by `observed`
            super().log_exception(*args, **kw)

    def _note(self, error: Exception) -> None:
        """One line. Bytes that are no HTTP (scanners, TLS) are below `info`: they would fill the log."""
        level = logging.DEBUG if self._request_count == 1 and isinstance(error, BadHttpMethod) else logging.WARNING
        peer = self.peername
        log.log(level, "%s sent a malformed request: %s", peer[0] if peer else "a client", reason(error))


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, most: int, head_seconds: float = HEAD_SECONDS
) -> AsyncIterator[list[tuple[str, int]]]:
    """Serves the app; yields the addresses that it listens on. Raises SettingsError for one that cannot be had."""
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        assert runner.server is not None
        connections = Connections(runner.server, most, head_seconds)
        try:
            listener = await asyncio.get_running_loop().create_server(connections, host, port, backlog=128)
        except OSError as error:
            why = f"TUNEHOOK_HOST, TUNEHOOK_PORT: cannot listen on {host} port {port}: {error.strerror}"
            raise SettingsError(why=why) from error
        try:
            yield [socket.getsockname()[:2] for socket in listener.sockets]
        finally:
            listener.close()
    finally:
        await runner.cleanup()
