"""The API, composed: every route in one table, the middlewares in their order."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

from aiohttp import web
from aiohttp.log import server_logger

from service import (
    chat,
    datasets,
    deliveries,
    docs,
    files,
    graders,
    health,
    jobs,
    metrics,
    models,
    uploads,
    upstream_events,
    webhook_endpoints,
)
from service.auth import authenticated
from service.malformed import ONE_LINE
from service.models import LISTS
from service.news import NEWS, News, listening, stop_waiting
from service.problems import Handler, broken_off, note_begun, problems
from service.reading import BODY_BYTES, WORLD
from service.room import room_for_records
from service.testing import TURNS, Turns
from tunehook.world import World

log = logging.getLogger("tunehook.api")

JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}"
ENDPOINT = "/v1/webhook_endpoints/{webhook_endpoint_id}"

#: Equal to the paths of api_spec/openapi.yaml; a test compares the two.
ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/v1/files", files.create),
    ("GET", "/v1/files", files.list_),
    ("GET", "/v1/files/{file_id}", files.retrieve),
    ("DELETE", "/v1/files/{file_id}", files.delete),
    ("GET", "/v1/files/{file_id}/content", files.content),
    ("GET", "/v1/files/{file_id}/report", files.report),
    ("POST", "/v1/datasets", datasets.create),
    ("POST", "/v1/uploads", uploads.create),
    ("POST", "/v1/uploads/{upload_id}/parts", uploads.add_part),
    ("POST", "/v1/uploads/{upload_id}/complete", uploads.complete),
    ("POST", "/v1/uploads/{upload_id}/cancel", uploads.cancel),
    ("POST", "/v1/fine_tuning/jobs", jobs.create),
    ("GET", "/v1/fine_tuning/jobs", jobs.list_),
    ("POST", "/v1/fine_tuning/jobs/estimate", jobs.estimate),
    ("POST", "/v1/fine_tuning/jobs/import", jobs.import_),
    ("GET", JOB, jobs.retrieve),
    ("POST", JOB + "/cancel", jobs.cancel),
    ("POST", JOB + "/pause", jobs.pause),
    ("POST", JOB + "/resume", jobs.resume),
    ("GET", JOB + "/events", jobs.events),
    ("GET", JOB + "/checkpoints", jobs.checkpoints),
    ("POST", "/v1/webhook_endpoints", webhook_endpoints.create),
    ("GET", "/v1/webhook_endpoints", webhook_endpoints.list_),
    ("GET", ENDPOINT, webhook_endpoints.retrieve),
    ("POST", ENDPOINT, webhook_endpoints.update),
    ("DELETE", ENDPOINT, webhook_endpoints.delete),
    ("POST", ENDPOINT + "/rotate_secret", webhook_endpoints.rotate_secret),
    ("POST", ENDPOINT + "/test", webhook_endpoints.test),
    ("POST", ENDPOINT + "/enable", webhook_endpoints.enable),
    ("POST", ENDPOINT + "/recover", webhook_endpoints.recover),
    ("GET", ENDPOINT + "/deliveries", deliveries.of_endpoint),
    ("GET", "/v1/webhook_event_types", webhook_endpoints.types),
    ("POST", "/v1/callback_secret/rotate", webhook_endpoints.rotate_callback_secret),
    ("GET", JOB + "/deliveries", deliveries.of_job),
    ("GET", "/v1/deliveries/{delivery_id}", deliveries.retrieve),
    ("POST", "/v1/deliveries/{delivery_id}/redeliver", deliveries.redeliver),
    ("POST", "/v1/fine_tuning/alpha/graders/validate", graders.validate),
    ("POST", "/v1/fine_tuning/alpha/graders/run", graders.run),
    ("GET", "/v1/models", models.list_),
    ("GET", "/v1/models/{model}", models.retrieve),
    ("POST", "/v1/chat/completions", chat.create),
    ("POST", "/v1/upstreams/{name}/events", upstream_events.receive),
    ("GET", "/livez", health.live),
    ("GET", "/readyz", health.ready),
    ("GET", "/metrics", metrics.read),
    ("GET", "/openapi.json", docs.contract),
    ("GET", "/docs", docs.page),
]


def build_app(world: World) -> web.Application:
    app = web.Application(
        client_max_size=BODY_BYTES,
        middlewares=[observed, problems, broken_off, authenticated, room_for_records],
        logger=logging.getLogger("aiohttp"),
    )
    server_logger.addFilter(ONE_LINE)
    app.on_response_prepare.append(note_begun)
    app[WORLD] = world
    app[NEWS] = News()
    app[LISTS] = models.Lists()
    app[TURNS] = Turns()
    app[datasets.BUILDING] = asyncio.Lock()
    app.cleanup_ctx.append(listening)
    app.on_shutdown.append(stop_waiting)
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
