"""/v1/files"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from service.answers import json_response
from service.limits import check_kept, check_stored_bytes
from service.multipart import receive
from service.requests import caller_of, choice, context_of, cursor, integer, known_only
from tunehook.errors import (
    DataDirUnavailable,
    FileContentGone,
    FileNotChecked,
    FileNotFetchedYet,
    InvalidParameter,
    NoReport,
)
from tunehook.files import ingest
from tunehook.model.file import File
from tunehook.openai_format.files import file_object, report_object
from tunehook.openai_format.lists import page_object

FILE_BYTES = 512 * 1024 * 1024
PURPOSE = "fine-tune"
EXPIRY_FIELDS = ("expires_after[anchor]", "expires_after[seconds]")


async def create(request: web.Request) -> web.Response:
    """Streams a file to storage. Up to 16 MB it is checked before the answer, above that by a worker."""
    ctx, caller = context_of(request), caller_of(request)
    async with ingest.receiving(ctx.files.storage, request.content_length or 0) as incoming:
        form = await receive(
            request, incoming, file="file", required=("purpose",), optional=EXPIRY_FIELDS, limit=FILE_BYTES
        )
        check_purpose(form.fields["purpose"])
        seconds = _expires_after(form.fields)
        if incoming.bytes == 0:
            raise InvalidParameter(param="file", why="it is empty; send at least ten examples, one JSON object a line")
        await check_stored_bytes(request, incoming.bytes)
        file = await ingest.keep(ctx.files, incoming, project=caller.project, filename=form.filename, seconds=seconds)
        await ctx.store.files.add(file)
    await check_kept(request, file)
    return web.json_response(file_object(file))


async def report(request: web.Request) -> web.Response:
    """Answers with the report of the check."""
    file = await _file(request)
    if file.purpose == PURPOSE and file.status == "uploaded":
        raise FileNotChecked(id=file.id)
    found = await context_of(request).files.storage.reports.read(file.id)
    if found is None:
        raise NoReport(id=file.id)
    return json_response(report_object(file.id, found))


def check_purpose(purpose: object) -> None:
    if purpose != PURPOSE:
        raise InvalidParameter(param="purpose", why=f"it must be {PURPOSE!r}, not {purpose!r}"[:200])


def expiry(anchor: object, seconds: object) -> int:
    """Checks OpenAI's `expires_after`; returns its seconds."""
    if anchor != "created_at":
        raise InvalidParameter(param="expires_after.anchor", why="it must be 'created_at'")
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 3600 <= seconds <= 2_592_000:
        raise InvalidParameter(
            param="expires_after.seconds", why="it must be a whole number from 3600 (an hour) to 2592000 (30 days)"
        )
    return seconds


def _expires_after(fields: Mapping[str, str]) -> int | None:
    given = [fields.get(name) for name in EXPIRY_FIELDS]
    if given == [None, None]:
        return None
    anchor, seconds = given
    number = int(seconds) if seconds and re.fullmatch(r"[0-9]{1,9}", seconds, re.ASCII) else seconds
    return expiry(anchor, number)


async def list_(request: web.Request) -> web.Response:
    known_only(request, "purpose", "limit", "order", "after")
    with cursor():
        files, more = await context_of(request).store.files.page(
            caller_of(request).project,
            after=request.query.get("after"),
            limit=integer(request, "limit", 10_000, 1, 10_000),
            purpose=request.query.get("purpose"),
            ascending=choice(request, "order", "desc", ("asc", "desc")) == "asc",
        )
    return web.json_response(page_object([file_object(file) for file in files], more))


async def retrieve(request: web.Request) -> web.Response:
    return web.json_response(file_object(await _file(request)))


async def content(request: web.Request) -> web.StreamResponse:
    file = await _file(request)
    if file.purpose != PURPOSE and file.status == "uploaded":
        raise FileNotFetchedYet(id=file.id)
    storage = context_of(request).files.storage
    try:
        blob = await storage.open(file.id)
    except FileNotFoundError:
        raise FileContentGone(id=file.id) from None
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = blob.size
    await response.prepare(request)
    async for piece in blob.chunks():
        await response.write(piece)
    await response.write_eof()
    return response


async def delete(request: web.Request) -> web.Response:
    ctx, file_id = context_of(request), request.match_info["file_id"]
    await ctx.files.storage.check_room()
    await ctx.store.files.delete(file_id, caller_of(request).project)
    with suppress(DataDirUnavailable):  # then retention removes its bytes
        await ctx.files.storage.remove(file_id)
        await ctx.store.files.left(file_id)
    answer: dict[str, Any] = {"id": file_id, "object": "file", "deleted": True}
    return web.json_response(answer)


async def _file(request: web.Request) -> File:
    return await context_of(request).store.files.read(request.match_info["file_id"], caller_of(request).project)
