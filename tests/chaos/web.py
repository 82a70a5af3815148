"""A proxy in front of the upstream, and the receiver of webhooks: both see who calls, and strike before or after."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiohttp import web

from tests.chaos import processes
from tests.chaos.board import Board, Struck
from tests.fakes.serving import serving

_IDS = re.compile(r"(ftjob|file|upload|part)-[A-Za-z0-9]+")
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "host", "date", "server"})


class Web:
    """`upstream` is the URL that the programs are given for the simulator at `backend`; `hooks` is the receiver's."""

    def __init__(self, backend: str, board: Board, among: Callable[[], list[int]]) -> None:
        self._backend = backend
        self._board = board
        self._among = among
        self.root = ""
        self.hooks: dict[str, list[dict[str, str]]] = defaultdict(list)  #: run mark → headers and body of each webhook
        self._came: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.session: aiohttp.ClientSession

    async def upstream(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        what = f"{request.method} {_IDS.sub('…', request.path.removeprefix('/v1'))}"
        texts = [request.path_qs.encode(), body[:20_000]]
        pid = await self._caller(request) if self._board.awaits(what, texts) else 0
        try:
            await self._board.see(pid, what, "before", texts)
            headers = {name: text for name, text in request.headers.items() if name.lower() not in _HOP}
            try:
                async with self.session.request(
                    request.method,
                    f"{self._backend}{request.path_qs}",
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                ) as answer:
                    content, status, received = await answer.read(), answer.status, answer.headers
            except aiohttp.ClientError:
                raise Struck from None  # the simulator broke it off: so do we
            await self._board.see(pid, what, "after", [*texts, content[:20_000]])
        except Struck:
            return _broken(request)
        kept = {name: text for name, text in received.items() if name.lower() not in _HOP}
        return web.Response(status=status, body=content, headers=kept)

    async def receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        mark = request.match_info["mark"]
        pid = await self._caller(request) if self._board.awaits("webhook", [mark.encode()]) else 0
        try:
            await self._board.see(pid, "webhook", "before", [mark.encode()])
            self.hooks[mark].append({**{k.lower(): v for k, v in request.headers.items()}, "body": body.decode()})
            self._came[mark].set()
            await self._board.see(pid, "webhook", "after", [mark.encode()])
        except Struck:
            return _broken(request)
        return web.Response(status=204)

    async def hooked(self, mark: str, seconds: float) -> None:
        """Returns when a webhook of that run has come, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came[mark].wait()

    async def _caller(self, request: web.Request) -> int:
        assert request.transport is not None
        theirs, ours = (request.transport.get_extra_info(end)[1] for end in ("peername", "sockname"))
        return await asyncio.to_thread(processes.caller, theirs, ours, self._among()) or 0


def _broken(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def web_between(backend: str, board: Board, among: Callable[[], list[int]]) -> AsyncIterator[Web]:
    between = Web(backend, board, among)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/hooks/{mark}", between.receive)
    app.router.add_route("*", "/v1/{rest:.*}", between.upstream)
    client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None))
    async with client as between.session, serving(app) as between.root:
        yield between
