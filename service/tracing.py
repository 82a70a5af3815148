"""The span of a request that accepts a job: in the caller's trace if it sends `traceparent`, else a new one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from service.request_log import ACCEPTED_JOB, LOGGED_TRACE
from service.requests import CALLER
from tunehook import telemetry


@contextmanager
def accepting(request: web.Request) -> Iterator[None]:
    with telemetry.span("accept", request.headers.get("traceparent"), kind="server"):
        request[LOGGED_TRACE] = telemetry.current()
        telemetry.describe(project=request[CALLER].project)
        yield
        telemetry.describe(**{"job.id": request.get(ACCEPTED_JOB)})
