"""The routes below /files: multipart in, streamed; what was sent comes out byte for byte."""

import math

from aiohttp import web

from simulator import views
from simulator.breaking import LANDS_AFTER
from simulator.examples import examine
from simulator.places import is_azure, world
from simulator.world import File, World, new_id
from wire.blob import Blob
from wire.checking import one_of
from wire.http import check_query, listed, page, read_limit, reply
from wire.multipart import check_file, file_of


async def create(request: web.Request) -> web.StreamResponse:
    here = world(request)
    filename, purpose, expires, blob = await file_of(request, Blob)
    lands = request.get(LANDS_AFTER, 0.0)
    found = await accept(here, filename, purpose, blob, expires=expires, lands_after=lands)
    return reply(views.file(found, here.clock.now()), status=201 if is_azure(request) else 200)


async def accept(
    here: World, filename: str, purpose: str, blob: Blob, *, expires: int | None, lands_after: float = 0.0
) -> File:
    """Make a file of bytes. Raises Problem 400 for an empty one, and for a dataset that is not called .jsonl."""
    check_file(filename, purpose, blob.size)
    now = here.clock.now() + lands_after
    found = File(
        new_id("file"),
        filename,
        purpose,
        created=now,
        ready=now + here.config.file_delay,
        blob=blob,
        expires=math.inf if expires is None else now + expires,
    )
    if purpose == "fine-tune":
        found.dataset = await blob.read(examine)
        found.trouble = found.dataset.torn
    if "+file_error" in filename:
        found.trouble = "Invalid file format. Line 1 is not a valid JSON object."
    here.add_file(found)
    return found


async def list_files(request: web.Request) -> web.StreamResponse:
    check_query(request, "purpose", "limit", "order", "after")
    here = world(request)
    here.settle()
    now = here.clock.now()
    found = [file for file in here.files.values() if file.created <= now < file.expires]
    if "purpose" in request.query:
        found = [file for file in found if file.purpose == request.query["purpose"]]
    order = request.query.get("order", "desc")
    one_of("asc", "desc")(order, "order")
    if order == "desc":
        found.reverse()
    shown, more = page(request, found, lambda file: file.id, limit=read_limit(request, 10_000, 10_000))
    data = [views.file(file, now) for file in shown]
    return listed(data, more=more, ends=True)


def _file(request: web.Request) -> File:
    here = world(request)
    here.settle()
    return here.file(request.match_info["id"])


async def retrieve(request: web.Request) -> web.StreamResponse:
    return reply(views.file(_file(request), world(request).clock.now()))


async def content(request: web.Request) -> web.StreamResponse:
    found = _file(request)
    answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    answer.content_length = found.blob.size
    await answer.prepare(request)
    async for chunk in found.blob.chunks():
        await answer.write(chunk)
    await answer.write_eof()
    return answer


async def delete(request: web.Request) -> web.StreamResponse:
    found = _file(request)
    del world(request).files[found.id]
    found.blob.close()
    return reply({"id": found.id, "object": "file", "deleted": True})
