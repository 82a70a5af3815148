"""/v1/fine_tuning/jobs"""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from service.answers import job_shown, json_response
from service.event_stream import FOLLOW_SECONDS, stream, wait_for_end
from service.job_filters import FILTERS, job_filter
from service.models import CATALOG
from service.request_log import ACCEPTED_JOB
from service.requests import (
    BODY_BYTES,
    caller_of,
    context_of,
    cursor,
    integer,
    is_sdk_retry,
    json_object,
    known_members,
    known_only,
    required,
)
from service.streams import is_position, wants_stream
from service.tracing import accepting
from tunehook.context import Context
from tunehook.errors import InvalidParameter, MissingParameter
from tunehook.jobs import commands, import_list, imports, submission, uploading
from tunehook.model.job import Stage, is_upstream_id
from tunehook.openai_format import jobs
from tunehook.openai_format.files import estimate_object
from tunehook.openai_format.lists import list_object, page_object
from tunehook.store.jobs import JobRecord

#: A cancel waits so long for the upstream to confirm, so that SDKs see OpenAI's answer; then it answers without.
CANCEL_SECONDS = 3


async def create(request: web.Request) -> web.Response:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidParameter(param="Idempotency-Key", why="it must have 1 to 255 characters")
    with accepting(request):
        record = await submission.submit(
            context_of(request),
            caller_of(request),
            await json_object(request, BODY_BYTES),
            idempotency_key=key,
            sdk_retry=is_sdk_retry(request),
            offered=partial(request.app[CATALOG].all, context_of(request).upstreams),
        )
        request[ACCEPTED_JOB] = record.job.id
    return json_response(await _object(context_of(request), record))


async def estimate(request: web.Request) -> web.Response:
    """Estimates the cost of the job that `create` would make."""
    ctx = context_of(request)
    body = await json_object(request, BODY_BYTES)
    offered = partial(request.app[CATALOG].all, ctx.upstreams)
    return json_response(estimate_object(await submission.estimate(ctx, caller_of(request), body, offered)))


async def import_(request: web.Request) -> web.Response:
    body = await json_object(request)
    known_members(body, "upstream", "upstream_job_id", "callback_url", "keep_dataset")
    ctx = context_of(request)
    with accepting(request):
        record = await imports.import_job(
            ctx,
            caller_of(request),
            upstream=required(body, "upstream", str),
            upstream_job_id=_upstream_job_id(required(body, "upstream_job_id", str)),
            callback_url=required(body, "callback_url", str) if body.get("callback_url") is not None else None,
            keep_dataset=body.get("keep_dataset") is not None and required(body, "keep_dataset", bool),
        )
        request[ACCEPTED_JOB] = record.job.id
    return json_response(await _object(ctx, record))


async def importable(request: web.Request) -> web.Response:
    """Lists the jobs of an upstream that the project may take over, and those that it has."""
    known_only(request, "upstream", "after", "limit")
    if "upstream" not in request.query:
        raise MissingParameter(param="upstream")
    integer(request, "limit", 100, 1, 100)  # as SDKs send; the upstream decides how long a page is
    name = request.query["upstream"]
    rows, following = await import_list.page(
        context_of(request), caller_of(request).project, upstream=name, after=request.query.get("after")
    )
    data = [jobs.importable_object(name, row.seen, row.job, row.why_not) for row in rows]
    page = page_object(data, has_more=following is not None)
    return json_response(page | ({"last_id": following} if following else {}))


def _upstream_job_id(text: str) -> str:
    """Checks the id, which becomes part of a path at the upstream."""
    if not is_upstream_id(text):
        raise InvalidParameter(param="upstream_job_id", why="it must be an id such as ftjob-abc123")
    return text


async def list_(request: web.Request) -> web.Response:
    known_only(request, "after", "limit", *FILTERS, metadata=True)
    ctx = context_of(request)
    with cursor():
        records, more = await ctx.store.jobs.page(
            caller_of(request).project,
            after=request.query.get("after"),
            limit=integer(request, "limit", 20, 1, 100),
            wanted=job_filter(request),
        )
    data = [await _object(ctx, record) for record in records]
    return json_response(list_object(data, has_more=more))


async def retrieve(request: web.Request) -> web.Response:
    """With `wait`: answers as soon as the job has ended, or after so many seconds."""
    known_only(request, "wait")
    seconds = integer(request, "wait", 0, 0, 60)
    record = await _record(request)
    if seconds and record.job.stage is not Stage.SETTLED:
        record = await wait_for_end(request, record, seconds)
    shown = await _object(context_of(request), record)
    if record.job.waiting is not None and record.job.waiting.code == "no_slot":
        shown["tunehook"]["waiting"] |= await _place(context_of(request), record)
    return json_response(shown)


async def _place(ctx: Context, record: JobRecord) -> dict[str, int | None]:
    """Returns the place of a job in the line for a slot, and when it is likely to get one."""
    upstreams, job = ctx.store.upstreams, record.job
    before = await upstreams.waiting_before(job)
    return {
        "place": before + 1,
        "slot_expected_at": await upstreams.slot_expected(job.upstream, before, record.now),
    }


async def cancel(request: web.Request) -> web.Response:
    ctx, caller = context_of(request), caller_of(request)
    record = await commands.cancel(ctx, request.match_info["fine_tuning_job_id"], caller.project)
    if record.job.stage is not Stage.SETTLED:
        record = await wait_for_end(request, record, CANCEL_SECONDS)
    return json_response(await _object(ctx, record))


async def pause(request: web.Request) -> web.Response:
    return await _steer(request, "pause")


async def resume(request: web.Request) -> web.Response:
    return await _steer(request, "resume")


async def _steer(request: web.Request, verb: commands.Verb) -> web.Response:
    ctx = context_of(request)
    record = await commands.pause_or_resume(
        ctx, request.match_info["fine_tuning_job_id"], caller_of(request).project, verb
    )
    return json_response(await _object(ctx, record))


async def events(request: web.Request) -> web.StreamResponse:
    known_only(request, "after", "limit")
    after = request.query.get("after")
    position = _position(after, "after") if after is not None else None
    if wants_stream(request):
        last = request.headers.get("last-event-id")
        begin = _position(last, "Last-Event-ID") if last else position
        return await stream(request, (await _record(request)).job.id, begin)
    ctx, job = context_of(request), (await _record(request)).job
    if job.stage is Stage.TRACKED:
        await ctx.store.job_log.follow(job.id, FOLLOW_SECONDS)
    limit = integer(request, "limit", 20, 1, 100)
    entries, more = await ctx.store.job_log.page(job.id, after=position, limit=limit)
    data = [jobs.event_object(job, entry.position, entry.message) for entry in entries]
    return json_response(list_object(data, has_more=more))


async def checkpoints(request: web.Request) -> web.Response:
    known_only(request, "after", "limit")
    ctx, job = context_of(request), (await _record(request)).job
    limit = integer(request, "limit", 10, 1, 100)
    upstream = ctx.upstreams.get(job.upstream)
    if not job.upstream_job_id or upstream is None:
        return json_response(page_object([], has_more=False))
    raw = await upstream.checkpoints(job.upstream_job_id, after=request.query.get("after"), limit=limit)
    data = [jobs.checkpoint_object(job, row) for row in raw["data"]]
    return json_response(page_object(data, has_more=bool(raw.get("has_more"))))


def _position(text: str, param: str) -> str:
    position = text.removeprefix(jobs.EVENT_ID)
    if not (text.startswith(jobs.EVENT_ID) and is_position(position)):
        raise InvalidParameter(param=param, why="it must be the id of an event")
    return position


async def _record(request: web.Request) -> JobRecord:
    job_id = request.match_info["fine_tuning_job_id"]
    return await context_of(request).store.jobs.read(job_id, caller_of(request).project)


async def _object(ctx: Context, record: JobRecord) -> dict[str, Any]:
    job = record.job
    copy = None
    if job.stage is Stage.UPLOADING:
        copy = next((copy for copy in await uploading.copies_of(ctx, job) if copy), None)
    return job_shown(record, copy)
