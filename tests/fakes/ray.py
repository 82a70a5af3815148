"""Ray's Jobs API as a cluster of 2.60 answers it. It runs nothing: a test says what becomes of a submission."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.fakes.serving import serving

TOKEN = "a cluster's token"


class Ray:
    """`url`: of the dashboard. `jobs`: submission id → what GET answers, in the order of the submissions."""

    def __init__(self) -> None:
        self.url = ""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stopped: list[str] = []

    def end(self, turn: str, status: str, exit_code: int | None) -> None:
        self.jobs[turn] |= {"status": status, "driver_exit_code": exit_code}

    def of(self, job_id: str) -> list[str]:
        """Returns the numbers of a job's turns."""
        return [turn.removeprefix(f"{job_id}-") for turn in self.jobs if turn.startswith(job_id)]

    async def submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        turn = body["submission_id"]
        if turn in self.jobs:
            return web.Response(status=500, text=f"Job with submission_id {turn} already exists.")
        self.jobs[turn] = {**body, "type": "SUBMISSION", "status": "PENDING", "driver_exit_code": None}
        return web.json_response({"job_id": turn, "submission_id": turn})

    async def show(self, request: web.Request) -> web.Response:
        found = self.jobs.get(request.match_info["turn"])
        return web.json_response(found) if found else web.Response(status=404, text="Job does not exist")

    async def stop(self, request: web.Request) -> web.Response:
        turn = request.match_info["turn"]
        self.stopped.append(turn)
        self.end(turn, "STOPPED", None)
        return web.json_response({"stopped": True})


@web.middleware
async def _token(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized(text="Unauthorized: Missing authentication token")
    answer: web.StreamResponse = await handler(request)
    return answer


@asynccontextmanager
async def running_ray() -> AsyncIterator[Ray]:
    ray = Ray()
    app = web.Application(middlewares=[_token])
    app.router.add_post("/api/jobs/", ray.submit)
    app.router.add_get("/api/jobs/{turn}", ray.show)
    app.router.add_post("/api/jobs/{turn}/stop", ray.stop)
    async with serving(app) as ray.url:
        yield ray
