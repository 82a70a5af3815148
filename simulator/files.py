"""The routes below /files: multipart in, streamed; what was sent comes out byte for byte."""

import math
from pathlib import PurePath

from aiohttp import BodyPartReader, web

from simulator import views
from simulator.blob import Blob
from simulator.breaking import LANDS_AFTER
from simulator.checking import one_of
from simulator.problems import Problem, bad
from simulator.requests import EXPIRES_AFTER, PURPOSES
from simulator.wire import check_query, is_azure, page, read_limit, reply, world
from simulator.world import File, World, new_id

_LARGEST = 512 * 2**20
_CHUNK = 256 * 2**10
_EXPIRES = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


async def parts_of(request: web.Request, most: int, file_field: str) -> tuple[dict[str, str], str | None, Blob | None]:
    """A multipart body: its text fields, the file's name, and its bytes (at most `most`)."""
    if request.content_type != "multipart/form-data":
        raise bad("The body must be multipart/form-data.")
    try:
        reader = await request.multipart()
    except ValueError as error:
        raise bad(f"The multipart body is malformed: {error}") from error
    fields: dict[str, str] = {}
    filename, blob = None, None
    while True:
        try:
            part = await reader.next()
        except ValueError as error:
            raise bad(f"The multipart body is malformed: {error}") from error
        if part is None:
            return fields, filename, blob
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise bad("Every part of the body needs a name.")
        if part.name == file_field:
            filename, blob = part.filename, await _receive(part, most)
        else:
            fields[part.name] = await _text(part)


async def _text(part: BodyPartReader) -> str:
    found = b""
    while chunk := await part.read_chunk(4096):
        found += chunk
        if len(found) > 4096:
            raise bad(f"The field '{part.name}' is too long.", param=part.name)
    return found.decode("utf-8", "replace")


async def _receive(part: BodyPartReader, most: int) -> Blob:
    blob = Blob()
    while chunk := await part.read_chunk(_CHUNK):
        if blob.size + len(chunk) > most:
            blob.close()
            raise Problem(413, f"File is too large: at most {most} bytes are accepted.", None, "file")
        await blob.append(chunk)
    return blob


def _expires_after(fields: dict[str, str]) -> int | None:
    given: dict[str, object] = {short: fields[name] for name, short in _EXPIRES.items() if name in fields}
    if not given:
        return None
    seconds = given.get("seconds")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 12:
        given["seconds"] = int(seconds)
    EXPIRES_AFTER(given, "expires_after")
    return int(str(given["seconds"]))


async def create(request: web.Request) -> web.StreamResponse:
    here = world(request)
    fields, filename, blob = await parts_of(request, _LARGEST, "file")
    for name in fields:
        if name != "purpose" and name not in _EXPIRES:
            raise bad(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if "purpose" not in fields:
        raise bad("Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
    one_of(*PURPOSES)(fields["purpose"], "purpose")
    expires = _expires_after(fields)
    if blob is None or not filename:
        raise bad("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    lands = request.get(LANDS_AFTER, 0.0)
    found = await accept(here, filename, fields["purpose"], blob, expires=expires, lands_after=lands)
    return reply(views.file(found, here.clock.now()), status=201 if is_azure(request) else 200)


async def accept(
    here: World, filename: str, purpose: str, blob: Blob, *, expires: int | None, lands_after: float = 0.0
) -> File:
    """Make a file of bytes. Raises Problem 400 for an empty one, and for a dataset that is not called .jsonl."""
    if blob.size == 0:
        raise bad("The file is empty.", param="file", code="empty_file")
    suffix = PurePath(filename).suffix
    if purpose == "fine-tune" and suffix != ".jsonl":
        words = f'Invalid extension {suffix.lstrip(".") or "(none)"}. Supported formats: "jsonl"'
        raise bad(words, param="file", code="invalid_file_extension")
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
        found.dataset = await blob.examined()
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
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return reply({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more})


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
