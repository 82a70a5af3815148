"""What the fakes of vendors share: a server on a free port, and faults that a test asks for by the call's name."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.fakes.serving import serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: What goes wrong, once: the answer is lost before or after the call was carried out; HTTP 500 before or after; its
#: answer is lost and it is carried out when the test lets it land; or an answer that the test gives.
Fault = Literal["lost before", "lost after", "500 after", "500 before", "late"] | web.Response


@dataclass
class FakeVendor:
    """`asked`: the calls as they came, `METHOD path`. `headers`: of the last call, by its name."""

    key: str
    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    _late: list[Callable[[], Awaitable[web.StreamResponse]]] = field(default_factory=list)

    def goes_wrong(self, call: str, *faults: Fault) -> None:
        """The next calls of that name go wrong, one fault each."""
        self.faults.setdefault(call, []).extend(faults)

    async def land(self) -> None:
        """Carries out the calls that were late."""
        while self._late:
            await self._late.pop(0)()

    def refusal(self, status: int, message: str) -> web.Response:
        raise NotImplementedError

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        """Returns (the call's name, method, path, handler)."""
        raise NotImplementedError

    def wrapped(self, call: str, handler: Handler, *, needs_key: bool) -> Handler:
        async def _answer(request: web.Request) -> web.StreamResponse:
            self.asked.append(f"{request.method} {request.path_qs}")
            self.headers[call] = {name.lower(): value for name, value in request.headers.items()}
            if needs_key and request.headers.get("authorization") != f"Bearer {self.key}":
                return self.refusal(401, f"Invalid API key {self.key[:4]}…")
            await (request.post() if request.content_type.startswith("multipart/") else request.read())
            waiting = self.faults.get(call)
            fault = waiting.pop(0) if waiting else None
            if fault is None:
                return await handler(request)
            if isinstance(fault, web.Response):
                return fault
            if fault == "late":
                self._late.append(lambda: handler(request))
            elif fault.endswith("after"):
                await handler(request)
            if fault.startswith("500"):
                return self.refusal(500, "Internal error")
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        return _answer


def json_answer(value: object, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), content_type="application/json", status=status)


async def json_body(request: web.Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await request.read() or b"{}")
    return found


@asynccontextmanager
async def running(vendor: FakeVendor, *, keyless: frozenset[str] = frozenset()) -> AsyncIterator[None]:
    """Serves the vendor while the block runs. `keyless`: calls to which no key is sent."""
    app = web.Application(client_max_size=2**30)
    for call, method, path, handler in vendor.routes():
        app.router.add_route(method, path, vendor.wrapped(call, handler, needs_key=call not in keyless))
    async with serving(app) as vendor.url:
        yield
