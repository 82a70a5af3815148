"""/v1/uploads"""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from service.files import check_purpose, expiry
from service.limits import check_stored_bytes
from service.multipart import clean_name, receive
from service.requests import BODY_BYTES, caller_of, context_of, json_object, known_members, optional, required
from tunehook.errors import InvalidParameter, LimitReached
from tunehook.files import ingest, uploads
from tunehook.model.file import File, Upload
from tunehook.openai_format.files import upload_object


async def create(request: web.Request) -> web.Response:
    body = await json_object(request)
    known_members(body, "filename", "purpose", "bytes", "mime_type", "expires_after")
    filename, size = required(body, "filename", str), required(body, "bytes", int)
    check_purpose(required(body, "purpose", str))
    required(body, "mime_type", str)
    if not 1 <= size <= uploads.LARGEST:
        raise InvalidParameter(param="bytes", why=f"it must be from 1 to {uploads.LARGEST} (8 GB), not {size}")
    await check_stored_bytes(request, size)
    upload = await uploads.begin(
        context_of(request).files,
        caller_of(request).project,
        filename=clean_name(filename),
        purpose="fine-tune",
        size=size,
        expires_after=_expires_after(optional(body, "expires_after", dict)),
    )
    try:
        await check_stored_bytes(request, 0)
    except LimitReached:  # others began at the same moment
        await uploads.cancel(context_of(request).files, upload.id, upload.project)
        raise
    return _answer(upload)


async def add_part(request: web.Request) -> web.Response:
    """Streams a part to storage as it arrives. Parts may be sent side by side."""
    ctx = context_of(request)
    record = await uploads.open_upload(
        ctx.files, request.match_info["upload_id"], caller_of(request).project, "added to"
    )
    upload = record.upload
    limit = await uploads.room(ctx.files, record)
    parts = ctx.files.storage.parts(upload.id)
    async with ingest.receiving(parts, request.content_length or 0, prefix="part_") as incoming:
        await receive(request, incoming, file="data", limit=limit)
        if incoming.bytes == 0:
            raise InvalidParameter(param="data", why="the part is empty")
        part_id = await uploads.keep_part(ctx.files, upload, incoming)
    now = int(time.time())
    return web.json_response({"id": part_id, "object": "upload.part", "created_at": now, "upload_id": upload.id})


async def complete(request: web.Request) -> web.Response:
    body = await json_object(request, BODY_BYTES)
    known_members(body, "part_ids", "md5")
    part_ids = required(body, "part_ids", list)
    if not part_ids or not all(isinstance(part_id, str) for part_id in part_ids):
        raise InvalidParameter(param="part_ids", why="it must be a list of part ids, in the order of the file")
    md5 = optional(body, "md5", str)
    upload, file = await uploads.complete(
        context_of(request).files, request.match_info["upload_id"], caller_of(request).project, part_ids, md5
    )
    return _answer(upload, file)


async def cancel(request: web.Request) -> web.Response:
    return _answer(
        await uploads.cancel(context_of(request).files, request.match_info["upload_id"], caller_of(request).project)
    )


def _answer(upload: Upload, file: File | None = None) -> web.Response:
    return web.json_response(upload_object(upload, file, now=time.time()))


def _expires_after(given: dict[str, Any] | None) -> int | None:
    if given is None:
        return None
    known_members(given, "anchor", "seconds", where="expires_after.")
    return expiry(given.get("anchor"), given.get("seconds"))
