"""The routes below /uploads: a large file in parts of at most 64 MB, within an hour."""

import asyncio

from aiohttp import web

from simulator.files import accept
from simulator.places import world
from simulator.world import Upload
from wire import shapes
from wire.bodies import COMPLETE_UPLOAD
from wire.http import read_json, reply
from wire.multipart import join, part_of
from wire.problems import bad, no_such_upload


async def create(request: web.Request) -> web.StreamResponse:
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


async def complete(request: web.Request) -> web.StreamResponse:
    here, body = world(request), await read_json(request)
    COMPLETE_UPLOAD(body, "")
    found, names = _pending(request), body["part_ids"]
    for name in names:
        if name not in found.parts:
            raise bad(f"No such part of {found.id}: {name}", param="part_ids", code="invalid_value")
    parts = [found.parts[name].path for name in names]
    whole = await asyncio.to_thread(join, found, parts, body.get("md5"), here.incoming)
    found.file = await accept(here, found.filename, found.purpose, whole, expires=found.expires_after)
    return _ended(request, found, "completed")


async def cancel(request: web.Request) -> web.StreamResponse:
    return _ended(request, _pending(request), "cancelled")


def _ended(request: web.Request, found: Upload, status: str) -> web.StreamResponse:
    found.ended = status
    for part in found.parts.values():
        part.close()
    found.parts.clear()
    return reply(found.shown_at(world(request).clock.now()))
