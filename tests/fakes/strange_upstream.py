"""An upstream that answers what a test gives it: for answers that no simulated one would give."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import SecretStr

from tests.fakes.serving import serving
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class StrangeUpstream:
    """`answers` by method and path below /v1: an object is sent as JSON, a callable answers itself; else it is 404.

    `asked` lists what came, with the query.
    """

    upstream: OpenAIUpstream
    answers: dict[str, object | Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1")
        self.asked.append(f"{request.method} {request.path_qs.removeprefix('/v1')}")
        await request.read()
        answer = self.answers.get(f"{request.method} {path}")
        if callable(answer):
            found: web.StreamResponse = await answer(request)
            return found
        if answer is None:
            return refusal(404, f"There is no {path} here.")
        return web.Response(text=json.dumps(answer), content_type="application/json")


def refusal(status: int, message: str, code: str | None = None) -> web.Response:
    """As OpenAI refuses."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


@asynccontextmanager
async def strange_upstream(name: str = "openai") -> AsyncIterator[StrangeUpstream]:
    app = web.Application(client_max_size=2**30)
    holder: list[StrangeUpstream] = []

    async def _take(request: web.Request) -> web.StreamResponse:
        return await holder[0].take(request)

    app.router.add_route("*", "/{path:.*}", _take)
    async with serving(app) as root:
        settings = UpstreamSettings(base_url=f"{root}/v1", api_key=SecretStr("sk-simulated"))
        upstream = OpenAIUpstream(name, settings)
        holder.append(StrangeUpstream(upstream))
        try:
            yield holder[0]
        finally:
            await upstream.close()
