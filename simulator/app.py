"""The composition: routes, keys, journal and faults around the handlers."""

import asyncio
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from simulator import chat, control, files, graders, hooks, jobs, models, responses
from simulator.breaking import CLOSING, ENTRY, PLAYED, play
from simulator.clock import Clock
from simulator.control import CONTROL, Control
from simulator.places import AZURE, CLOCK, CONFIG, OPENAI
from simulator.problems import named
from simulator.settings import Config
from simulator.world import World
from wire.http import BODY, LARGEST_BODY, Handler, bearer, problems, surface

PREFIXES = ("/v1", "/openai/v1")


def build_app(config: Config | None = None, clock: Clock | None = None) -> web.Application:
    """The whole server. Give a `Clock` whose source stands still and call its `advance` to control time."""
    config, clock = config or Config(), clock or Clock()
    app = web.Application(middlewares=[_journal, problems, _keys, _faults], client_max_size=LARGEST_BODY)
    app[CONFIG], app[CLOCK], app[CONTROL], app[PLAYED] = config, clock, Control(), Counter()
    app[OPENAI] = World(config, clock, azure=False)
    app[AZURE] = World(config, clock, azure=True)
    for prefix in PREFIXES:
        app.add_routes(_surface(prefix))
    app.add_routes(
        [
            web.post("/simulator/faults", control.add_fault),
            web.get("/simulator/faults", control.list_faults),
            web.delete("/simulator/faults", control.clear_faults),
            web.get("/simulator/jobs", control.list_jobs),
            web.get("/simulator/requests", control.list_requests),
            web.post("/simulator/clock", control.advance),
            web.get("/simulator/clock", control.read_clock),
        ]
    )
    app.cleanup_ctx.append(_closing)
    app.cleanup_ctx.append(hooks.running)
    return app


def _surface(prefix: str) -> list[web.RouteDef]:
    return [
        *surface(prefix, files, jobs, models, chat, graders),
        web.post(f"{prefix}/responses", responses.create),
    ]


def _is_api(request: web.Request) -> bool:
    return request.path.startswith(tuple(prefix + "/" for prefix in PREFIXES))


async def _name_answer(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["x-request-id"] = request[REQUEST_ID]


REQUEST_ID = web.RequestKey("request_id", str)


@web.middleware
async def _journal(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[REQUEST_ID] = f"req_{uuid.uuid4().hex}"
    if not _is_api(request):
        return await handler(request)
    entry: dict[str, object] = {
        "at": request.app[CLOCK].now(),
        "request_id": request[REQUEST_ID],
        "method": request.method,
        "path": request.path_qs,
        "status": None,  # stays so while it hangs, or if it was reset
        "fault": None,
        "retry": request.headers.get("x-stainless-retry-count"),
        "body": None,
    }
    request[ENTRY] = entry
    request.app[CONTROL].journal.append(entry)
    answer = await handler(request)
    if request.transport is not None and not request.transport.is_closing():
        entry["status"] = answer.status
    raw = request.get(BODY, b"")
    entry["body"] = raw.decode("utf-8", "replace") if 0 < len(raw) <= 2048 else None
    return answer


@web.middleware
async def _keys(request: web.Request, handler: Handler) -> web.StreamResponse:
    if _is_api(request):
        key = bearer(request) or request.headers.get("api-key", "").strip()  # Azure's own header
        accepted = request.app[CONFIG].keys
        if not key or (accepted and key not in accepted):
            raise named("invalid_api_key", None)
    return await handler(request)


@web.middleware
async def _faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not _is_api(request):
        return await handler(request)
    rule = request.app[CONTROL].take(request.method, request.path)
    if rule is None:
        return await handler(request)
    return await play(rule.directive, request, handler)


async def _closing(app: web.Application) -> AsyncIterator[None]:
    """Bytes are kept while the server runs, and hanging requests end with it."""
    app[CLOSING] = asyncio.Event()
    folder = tempfile.TemporaryDirectory(prefix="simulator-")
    app[OPENAI].folder = app[AZURE].folder = Path(folder.name)

    async def close(app: web.Application) -> None:
        app[CLOSING].set()

    app.on_shutdown.append(close)
    app.on_response_prepare.append(_name_answer)
    yield
    folder.cleanup()
