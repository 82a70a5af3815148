"""A reverse proxy that serves the page below a path, as an ingress does: `/tune/hook/…` is `/…` at the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.fakes.serving import serving

#: What belongs to one connection, or is set anew.
_OWN = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@asynccontextmanager
async def below(path: str, root: str) -> AsyncIterator[str]:
    """Yields the address of `root` below `path`; everything beside it is 404."""

    async def _pass(request: web.Request) -> web.StreamResponse:
        target = root + request.raw_path.removeprefix(path)
        headers = {name: text for name, text in request.headers.items() if name.lower() not in _OWN}
        sent = http.request(request.method, target, headers=headers, data=await request.read(), allow_redirects=False)
        async with sent as got:
            kept = {name: text for name, text in got.headers.items() if name.lower() not in _OWN}
            answer = web.StreamResponse(status=got.status, headers=kept)
            await answer.prepare(request)
            async for part in got.content.iter_any():
                await answer.write(part)
            return answer

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", path + "/{tail:.*}", _pass)
    # Compressed bytes pass as they are, and a stream may last as long as its tab.
    async with (
        aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)) as http,
        serving(app) as address,
    ):
        yield address + path
