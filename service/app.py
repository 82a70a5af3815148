"""Composes the API: every route in one table, and the middlewares in their order."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import NamedTuple

from aiohttp import web

from service import (
    admin_keys,
    admin_projects,
    chat,
    datasets,
    deliveries,
    deployments,
    docs,
    files,
    graders,
    health,
    job_metrics,
    jobs,
    metrics,
    models,
    page_server,
    project_events,
    pull,
    retrains,
    summary,
    uploads,
    upstream_webhooks,
    webhook_endpoints,
)
from service.auth import authenticated
from service.client_address import TRUSTED_PROXIES
from service.error_responses import ERROR_CODE, REQUEST_ID, BrokenOff, Handler, broken_off, note_begun, problems
from service.event_stream import FOLLOWED_JOBS, FollowedJobs
from service.limits import RATE_LIMITS, TEST_LIMIT, ProjectLimit, room_for, tell_rate
from service.metrics import REQUESTS, note_request, requests
from service.models import CATALOG
from service.project_events import FOLLOWED_PROJECTS, FollowedProjects
from service.request_log import log_request
from service.requests import BODY_BYTES, CONTEXT, PARSING
from service.streams import OPEN_STREAMS, OpenStreams
from tunehook.context import Context
from tunehook.dataset.process import FairLock
from tunehook.setting_values import Network
from tunehook.store.rate_limits import RateLimits
from tunehook.upstreams import catalog

log = logging.getLogger("tunehook.api")

JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}"
#: Not of `estimate`, `import` and `importable`, which have paths of their own: else they would have a job's methods.
_ONE_JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id:(?!(?:estimate|import|importable)$)[^{}/]+}"
ENDPOINT = "/v1/webhook_endpoints/{webhook_endpoint_id}"
KEY = "/v1/admin/keys/{key_id}"


class Route(NamedTuple):
    method: str
    path: str
    handler: Handler
    makes_records: bool = False  #: refused while Redis is nearly full


#: Equal to the paths of api_spec/openapi.yaml; a test compares the two.
ROUTES: list[Route] = [
    Route("POST", "/v1/files", files.create, makes_records=True),
    Route("GET", "/v1/files", files.list_),
    Route("GET", "/v1/files/{file_id}", files.retrieve),
    Route("DELETE", "/v1/files/{file_id}", files.delete),
    Route("GET", "/v1/files/{file_id}/content", files.content),
    Route("GET", "/v1/files/{file_id}/report", files.report),
    Route("POST", "/v1/datasets", datasets.create, makes_records=True),
    Route("POST", "/v1/uploads", uploads.create, makes_records=True),
    Route("POST", "/v1/uploads/{upload_id}/parts", uploads.add_part, makes_records=True),
    Route("POST", "/v1/uploads/{upload_id}/complete", uploads.complete),
    Route("POST", "/v1/uploads/{upload_id}/cancel", uploads.cancel),
    Route("POST", "/v1/fine_tuning/jobs", jobs.create, makes_records=True),
    Route("GET", "/v1/fine_tuning/jobs", jobs.list_),
    Route("POST", "/v1/fine_tuning/jobs/estimate", jobs.estimate),
    Route("POST", "/v1/fine_tuning/jobs/import", jobs.import_, makes_records=True),
    Route("GET", "/v1/fine_tuning/jobs/importable", jobs.importable),
    Route("GET", JOB, jobs.retrieve),
    Route("POST", JOB + "/cancel", jobs.cancel),
    Route("POST", JOB + "/pause", jobs.pause),
    Route("POST", JOB + "/resume", jobs.resume),
    Route("POST", JOB + "/retrain", retrains.create, makes_records=True),
    Route("GET", JOB + "/events", jobs.events),
    Route("GET", JOB + "/checkpoints", jobs.checkpoints),
    Route("GET", JOB + "/metrics", job_metrics.retrieve),
    Route("POST", "/v1/webhook_endpoints", webhook_endpoints.create, makes_records=True),
    Route("GET", "/v1/webhook_endpoints", webhook_endpoints.list_),
    Route("GET", ENDPOINT, webhook_endpoints.retrieve),
    Route("POST", ENDPOINT, webhook_endpoints.update),
    Route("DELETE", ENDPOINT, webhook_endpoints.delete),
    Route("POST", ENDPOINT + "/rotate_secret", webhook_endpoints.rotate_secret),
    Route("POST", ENDPOINT + "/test", webhook_endpoints.test),
    Route("POST", ENDPOINT + "/enable", webhook_endpoints.enable),
    Route("POST", ENDPOINT + "/recover", webhook_endpoints.recover),
    Route("GET", ENDPOINT + "/deliveries", deliveries.of_endpoint),
    Route("GET", ENDPOINT + "/stream", pull.read),
    Route("POST", "/v1/deliveries/{delivery_id}/attempts", pull.report),
    Route("GET", "/v1/webhook_event_types", webhook_endpoints.types),
    Route("POST", "/v1/callback_secret/rotate", webhook_endpoints.rotate_callback_secret),
    Route("GET", JOB + "/deliveries", deliveries.of_job),
    Route("GET", "/v1/deliveries/{delivery_id}", deliveries.retrieve),
    Route("POST", "/v1/deliveries/{delivery_id}/redeliver", deliveries.redeliver),
    Route("POST", "/v1/fine_tuning/alpha/graders/validate", graders.validate),
    Route("POST", "/v1/fine_tuning/alpha/graders/run", graders.run),
    Route("GET", "/v1/events", project_events.stream),
    Route("GET", "/v1/summary", summary.retrieve),
    Route("GET", "/v1/models", models.list_),
    Route("GET", "/v1/models/{model}", models.retrieve),
    Route("DELETE", "/v1/models/{model}", models.delete),
    Route("POST", "/v1/models/{model}/deploy", deployments.create, makes_records=True),
    Route("GET", "/v1/models/{model}/deploy", deployments.retrieve),
    Route("DELETE", "/v1/models/{model}/deploy", deployments.delete),
    Route("POST", "/v1/chat/completions", chat.create),
    Route("POST", "/v1/responses", chat.respond),
    Route("POST", "/v1/upstreams/{name}/events", upstream_webhooks.receive),
    Route("GET", "/v1/admin/keys", admin_keys.list_),
    Route("POST", "/v1/admin/keys", admin_keys.create, makes_records=True),
    Route("GET", KEY, admin_keys.retrieve),
    Route("POST", KEY, admin_keys.change),
    Route("DELETE", KEY, admin_keys.revoke),
    Route("POST", KEY + "/rotate", admin_keys.rotate),
    Route("GET", "/v1/admin/projects", admin_projects.list_),
    Route("GET", "/v1/admin/projects/{project}", admin_projects.retrieve),
    Route("POST", "/v1/admin/projects/{project}", admin_projects.change),
    Route("POST", "/v1/admin/jobs/{fine_tuning_job_id}/approve", admin_projects.approve),
    Route("POST", "/v1/admin/jobs/{fine_tuning_job_id}/reject", admin_projects.reject),
    Route("GET", "/livez", health.live),
    Route("GET", "/readyz", health.ready),
    Route("GET", "/metrics", metrics.read),
    Route("GET", "/openapi.json", docs.contract),
    Route("GET", "/docs", docs.page),
]


def build_app(ctx: Context, trusted_proxies: tuple[Network, ...] = (), *, page: bool = True) -> web.Application:
    makes_records = frozenset(route.handler for route in ROUTES if route.makes_records)
    app = web.Application(
        client_max_size=BODY_BYTES,
        middlewares=[observed, problems, broken_off, authenticated, room_for(makes_records)],
        logger=logging.getLogger("aiohttp"),
    )
    app.on_response_prepare.append(note_begun)
    app.on_response_prepare.append(tell_rate)
    app[CONTEXT] = ctx
    app[TRUSTED_PROXIES] = trusted_proxies
    app[REQUESTS] = requests()
    app[OPEN_STREAMS] = streams = OpenStreams(ctx.store)
    app[FOLLOWED_JOBS] = FollowedJobs(ctx.store, streams)
    app[FOLLOWED_PROJECTS] = FollowedProjects(ctx.store, streams)
    app[CATALOG] = catalog.Catalog()
    app[PARSING] = asyncio.Lock()
    app[TEST_LIMIT] = ProjectLimit()
    app[RATE_LIMITS] = RateLimits(ctx.store)
    app[datasets.BUILDING] = FairLock()
    app.cleanup_ctx.extend((app[FOLLOWED_JOBS].reading, app[FOLLOWED_PROJECTS].reading, streams.watching))
    app.on_shutdown.append(streams.close)
    for route in ROUTES:
        app.router.add_route(route.method, route.path.replace(JOB, _ONE_JOB), route.handler)
    if page:
        page_server.add_routes(app)  # no part of the contract: files for a browser
    return app


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Adds an `x-request-id` to every answer, as OpenAI does, and logs requests that change something or fail."""
    request[REQUEST_ID] = request_id = "req_" + secrets.token_hex(12)
    begun = time.perf_counter()
    try:
        response = await handler(request)
    except ConnectionError as error:
        why = f"broken off: {error}" if isinstance(error, BrokenOff) else "closed by the client"
        log_request(request, request_id, begun, why)
        note_request(request, None, time.perf_counter() - begun)
        raise
    if not response.prepared:
        response.headers["x-request-id"] = request_id
    if request.method != "GET" or response.status >= 400:
        log_request(request, request_id, begun, str(response.status), response.get(ERROR_CODE))
    note_request(request, response, time.perf_counter() - begun)
    return response
