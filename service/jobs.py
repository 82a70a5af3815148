"""/v1/fine_tuning/jobs"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from service.reading import caller_of, integer, json_object, known_only, metadata_filter, world_of
from tunehook import lifecycle, submission, upload, wire
from tunehook.errors import InvalidParameter
from tunehook.model import Stage
from tunehook.store.jobs import JobRecord
from tunehook.world import World

EVENT_ID = "ftevent-"
#: Whoever reads a job's events follows it: for so long, looks fetch them every time.
FOLLOW_SECONDS = 90.0
#: A cancel waits for the upstream to confirm, so that SDKs see what OpenAI would answer; then it goes on without.
CANCEL_SECONDS = 3.0


async def create(request: web.Request) -> web.Response:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidParameter(param="Idempotency-Key", why="it must have 1 to 255 characters")
    record = await submission.submit(
        world_of(request),
        caller_of(request),
        await json_object(request),
        idempotency_key=key,
        sdk_retry=request.headers.get("x-stainless-retry-count", "0") not in ("", "0"),
    )
    return web.json_response(await _object(world_of(request), record))


async def list_(request: web.Request) -> web.Response:
    known_only(request, "after", "limit", metadata=True)
    world = world_of(request)
    records, more = await world.store.jobs.page(
        caller_of(request).project,
        after=request.query.get("after"),
        limit=integer(request, "limit", 20, 1, 100),
        metadata=metadata_filter(request),
    )
    data = [await _object(world, record) for record in records]
    return web.json_response({"object": "list", "data": data, "has_more": more})


async def retrieve(request: web.Request) -> web.Response:
    return web.json_response(await _object(world_of(request), await _record(request)))


async def cancel(request: web.Request) -> web.Response:
    world, caller = world_of(request), caller_of(request)
    record = await lifecycle.cancel(world, request.match_info["fine_tuning_job_id"], caller.project)
    until = asyncio.get_running_loop().time() + CANCEL_SECONDS
    while record.job.stage is not Stage.SETTLED and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.05)
        record = await world.store.jobs.read(record.job.id, caller.project)
    return web.json_response(await _object(world, record))


async def events(request: web.Request) -> web.Response:
    known_only(request, "after", "limit")
    world, job = world_of(request), (await _record(request)).job
    after = request.query.get("after")
    position = _position(after) if after is not None else None
    if job.stage is Stage.TRACKED:
        await world.store.jobs.follow(job.id, FOLLOW_SECONDS)
    limit = integer(request, "limit", 20, 1, 100)
    entries, more = await world.store.jobs.log_page(job.id, after=position, limit=limit)
    data = [wire.event_object(job, event_id(entry.position), entry.message) for entry in entries]
    return web.json_response({"object": "list", "data": data, "has_more": more})


async def checkpoints(request: web.Request) -> web.Response:
    known_only(request, "after", "limit")
    world, job = world_of(request), (await _record(request)).job
    limit = integer(request, "limit", 10, 1, 100)
    upstream = world.upstreams.get(job.upstream)
    if not job.upstream_job_id or upstream is None:
        return web.json_response({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    raw = await upstream.checkpoints(job.upstream_job_id, after=request.query.get("after"), limit=limit)
    data = [wire.checkpoint_object(job, row) for row in raw.get("data") or [] if isinstance(row, dict)]
    return web.json_response(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": bool(raw.get("has_more")),
        }
    )


def event_id(position: str) -> str:
    """An event's id is its place in the log, so that it needs no index to be found again."""
    return EVENT_ID + position


def _position(text: str) -> str:
    position = text.removeprefix(EVENT_ID)
    milliseconds, _, number = position.partition("-")
    if not (text.startswith(EVENT_ID) and milliseconds.isdecimal() and number.isdecimal() and len(position) < 40):
        raise InvalidParameter(param="after", why="it must be the id of an event")
    return position


async def _record(request: web.Request) -> JobRecord:
    job_id = request.match_info["fine_tuning_job_id"]
    return await world_of(request).store.jobs.read(job_id, caller_of(request).project)


async def _object(world: World, record: JobRecord) -> dict[str, Any]:
    job = record.job
    copy = None
    if job.stage is Stage.UPLOADING:
        copy = next((copy for copy in await upload.copies_of(world, job) if copy), None)
    return wire.job_object(job, revision=record.revision, cancel_requested_at=record.cancel_requested_at, copy=copy)
