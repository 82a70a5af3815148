"""The routes below /uploads: a large file in parts of at most 64 MB, within an hour."""

from aiohttp import web

from simulator import views
from simulator.files import accept
from simulator.places import world
from simulator.world import Upload, new_id
from wire.blob import Blob
from wire.bodies import COMPLETE_UPLOAD, UPLOAD
from wire.http import read_json, reply
from wire.multipart import part_of
from wire.problems import Problem, bad


async def create(request: web.Request) -> web.StreamResponse:
    here, body = world(request), await read_json(request)
    UPLOAD(body, "")
    expires = body.get("expires_after")
    found = Upload(
        new_id("upload"),
        created=here.clock.now(),
        bytes=int(str(body["bytes"])),
        filename=str(body["filename"]),
        purpose=str(body["purpose"]),
        expires_after=expires["seconds"] if isinstance(expires, dict) else None,
    )
    here.uploads[found.id] = found
    return reply(views.upload(found, here.clock.now()))


def _pending(request: web.Request) -> Upload:
    """Raises Problem 404 for an unknown upload, 400 for one that is over."""
    here, name = world(request), request.match_info["id"]
    found = here.uploads.get(name)
    if found is None:
        raise Problem(404, f"No such Upload object: {name}", None, "id")
    status = views.upload(found, here.clock.now())["status"]
    if status != "pending":
        raise bad(f"Upload {name} is {status}.", param="id", code="invalid_state")
    return found


async def add_part(request: web.Request) -> web.StreamResponse:
    found = _pending(request)
    blob = await part_of(request, Blob)
    found = _pending(request)  # it may have been cancelled while the bytes came
    name = new_id("part")
    found.parts[name] = blob
    now = int(world(request).clock.now())
    return reply({"id": name, "object": "upload.part", "created_at": now, "upload_id": found.id})


async def complete(request: web.Request) -> web.StreamResponse:
    here, body = world(request), await read_json(request)
    COMPLETE_UPLOAD(body, "")
    found, names = _pending(request), body["part_ids"]
    parts: list[Blob] = []
    for name in names if isinstance(names, list) else []:
        if name not in found.parts:
            raise bad(f"No such part of {found.id}: {name}", param="part_ids", code="invalid_value")
        parts.append(found.parts[name])
    size = sum(part.size for part in parts)
    if size != found.bytes:
        words = f"The parts have {size} bytes; the upload was announced with {found.bytes}."
        raise bad(words, param="part_ids", code="invalid_upload_size")
    whole = Blob()
    for part in parts:
        async for chunk in part.chunks():
            await whole.append(chunk)
    if "md5" in body and body["md5"] != await whole.md5():
        raise bad("The md5 of the parts differs from the one given.", param="md5", code="invalid_value")
    found.file = await accept(here, found.filename, found.purpose, whole, expires=found.expires_after)
    found.status = "completed"
    _forget_parts(found)
    return reply(views.upload(found, here.clock.now()))


async def cancel(request: web.Request) -> web.StreamResponse:
    found = _pending(request)
    found.status = "cancelled"
    _forget_parts(found)
    return reply(views.upload(found, world(request).clock.now()))


def _forget_parts(found: Upload) -> None:
    for part in found.parts.values():
        part.close()
    found.parts.clear()
