"""The API, composed: every route in one table, the middlewares in their order."""

from __future__ import annotations

import logging
import secrets
import time

from aiohttp import web

from service import chat, files, health, jobs
from service.auth import authenticated
from service.problems import Handler, problems
from service.reading import BODY_BYTES, WORLD
from tunehook.world import World

log = logging.getLogger("tunehook.api")

JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}"

#: Equal to the paths of api_spec/openapi.yaml; a test compares the two.
ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/v1/files", files.create),
    ("GET", "/v1/files", files.list_),
    ("GET", "/v1/files/{file_id}", files.retrieve),
    ("DELETE", "/v1/files/{file_id}", files.delete),
    ("GET", "/v1/files/{file_id}/content", files.content),
    ("POST", "/v1/fine_tuning/jobs", jobs.create),
    ("GET", "/v1/fine_tuning/jobs", jobs.list_),
    ("GET", JOB, jobs.retrieve),
    ("POST", JOB + "/cancel", jobs.cancel),
    ("GET", JOB + "/events", jobs.events),
    ("GET", JOB + "/checkpoints", jobs.checkpoints),
    ("POST", "/v1/chat/completions", chat.create),
    ("GET", "/livez", health.live),
    ("GET", "/readyz", health.ready),
]


def build_app(world: World) -> web.Application:
    app = web.Application(
        client_max_size=BODY_BYTES, middlewares=[observed, problems, authenticated], logger=logging.getLogger("aiohttp")
    )
    app[WORLD] = world
    for method, path, handler in ROUTES:
        app.router.add_route(method, path, handler)
    return app


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer bears an `x-request-id`, as OpenAI's do; what changes something, or fails, is a line in the log."""
    request_id = "req_" + secrets.token_hex(12)
    begun = time.perf_counter()
    response = await handler(request)
    if not response.prepared:
        response.headers["x-request-id"] = request_id
    if request.method != "GET" or response.status >= 500:
        ms = (time.perf_counter() - begun) * 1000
        path = request.path[:120].encode("unicode_escape").decode()
        log.info("%s %s → %d in %.0f ms (%s)", request.method, path, response.status, ms, request_id)
    return response
