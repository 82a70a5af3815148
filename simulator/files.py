"""The routes below /files, and below /uploads: a large file in parts of at most 64 MB, within an hour."""

import asyncio

from aiohttp import web

from simulator.breaking import LANDS_AFTER
from simulator.examples import examine
from simulator.places import is_azure, world
from simulator.world import File, Upload, World
from wire import shapes
from wire.blob import Blob
from wire.bodies import COMPLETE_UPLOAD
from wire.http import file_page, read_json, reply
from wire.multipart import check_file, file_of, join, part_of
from wire.problems import bad, no_such_upload


async def create(request: web.Request) -> web.StreamResponse:
    here = world(request)
    filename, purpose, expires, blob = await file_of(request, here.incoming)
    lands = request.get(LANDS_AFTER, 0.0)
    found = await _accept(here, filename, purpose, blob, expires=expires, lands_after=lands)
    return reply(found.shown_at(here.clock.now()), status=201 if is_azure(request) else 200)


async def _accept(
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


# ---- uploads


async def begin_upload(request: web.Request) -> web.StreamResponse:
    here = world(request)
    found = Upload.of(await read_json(request), here.clock.now())
    here.uploads[found.id] = found
    return reply(found.shown_at(here.clock.now()))


def _pending(request: web.Request) -> Upload:
    """Raises Problem 404 for an unknown upload, 400 for one that is over."""
    here, name = world(request), request.match_info["id"]
    found = here.uploads.get(name)
    if found is None:
        raise no_such_upload(name)
    found.check_pending(found.status(here.clock.now()))
    return found


async def add_part(request: web.Request) -> web.StreamResponse:
    here = world(request)
    _pending(request)
    blob = await part_of(request, here.incoming)
    found, name = _pending(request), shapes.new_id("part")  # it may have been cancelled while the bytes came
    found.parts[name] = blob
    return reply(found.part(name, here.clock.now()))


async def complete_upload(request: web.Request) -> web.StreamResponse:
    here, body = world(request), await read_json(request)
    COMPLETE_UPLOAD(body, "")
    found, names = _pending(request), body["part_ids"]
    for name in names:
        if name not in found.parts:
            raise bad(f"No such part of {found.id}: {name}", param="part_ids", code="invalid_value")
    parts = [found.parts[name].path for name in names]
    whole = await asyncio.to_thread(join, found, parts, body.get("md5"), here.incoming)
    found.file = await _accept(here, found.filename, found.purpose, whole, expires=found.expires_after)
    return _ended(request, found, "completed")


async def cancel_upload(request: web.Request) -> web.StreamResponse:
    return _ended(request, _pending(request), "cancelled")


def _ended(request: web.Request, found: Upload, status: str) -> web.StreamResponse:
    found.ended = status
    for part in found.parts.values():
        part.close()
    found.parts.clear()
    return reply(found.shown_at(world(request).clock.now()))
