"""The routes below /files: multipart in, streamed; what was sent comes out byte for byte."""

import asyncio

from aiohttp import web

from simulator.breaking import LANDS_AFTER
from simulator.examples import examine
from simulator.places import is_azure, world
from simulator.world import File, World
from wire import shapes
from wire.blob import Blob
from wire.http import file_page, reply
from wire.multipart import check_file, file_of


async def create(request: web.Request) -> web.StreamResponse:
    here = world(request)
    filename, purpose, expires, blob = await file_of(request, here.incoming)
    lands = request.get(LANDS_AFTER, 0.0)
    found = await accept(here, filename, purpose, blob, expires=expires, lands_after=lands)
    return reply(found.shown_at(here.clock.now()), status=201 if is_azure(request) else 200)


async def accept(
    here: World, filename: str, purpose: str, blob: Blob, *, expires: int | None, lands_after: float = 0.0
) -> File:
    """Make a file of bytes. Raises Problem 400 for an empty one, and for a dataset that is not called .jsonl."""
    await check_file(filename, purpose, blob)
    now = here.clock.now() + lands_after
    found = File(
        id=shapes.new_id("file"),
        filename=filename,
        purpose=purpose,
        size=blob.size,
        created_at=now,
        ready=now + here.config.file_delay,
        blob=blob,
        expires_at=None if expires is None else now + expires,
    )
    if purpose == "fine-tune":
        found.dataset = await asyncio.to_thread(blob.read, examine)
        found.trouble = found.dataset.torn
    if "+file_error" in filename:
        found.trouble = "Invalid file format. Line 1 is not a valid JSON object."
    here.files[found.id] = found
    return found


async def list_files(request: web.Request) -> web.StreamResponse:
    here = world(request)
    here.settle()
    now = here.clock.now()
    return file_page(
        request, filter(lambda file: file.exists(now), here.files.values()), lambda file: file.shown_at(now)
    )


def _file(request: web.Request) -> File:
    here = world(request)
    here.settle()
    return here.file(request.match_info["id"])


async def retrieve(request: web.Request) -> web.StreamResponse:
    return reply(_file(request).shown_at(world(request).clock.now()))


async def content(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(_file(request).blob.path, headers={"Content-Type": "application/octet-stream"})


async def delete(request: web.Request) -> web.StreamResponse:
    found = _file(request)
    del world(request).files[found.id]
    found.blob.close()
    return reply(shapes.deleted(found.id, "file"))
