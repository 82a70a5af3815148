"""/v1/files"""

from __future__ import annotations

import time
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from service.reading import (
    Deadline,
    caller_of,
    choice,
    integer,
    known_only,
    refuse_encoding,
    world_of,
)
from tunehook.errors import (
    FileContentGone,
    FileNotFetchedYet,
    InvalidBody,
    InvalidParameter,
    MissingParameter,
    TooLarge,
    UnknownParameter,
    WrongMediaType,
)
from tunehook.model import File, new_id
from tunehook.shelf import Incoming
from tunehook.wire import file_object

FILE_BYTES = 512 * 1024 * 1024
FIELD_BYTES = 1024
CHUNK = 256 * 1024
PURPOSE = "fine-tune"


async def create(request: web.Request) -> web.Response:
    """Streamed to disk as it arrives; never whole in memory."""
    world, caller = world_of(request), caller_of(request)
    refuse_encoding(request)
    if request.content_type != "multipart/form-data":
        raise WrongMediaType(why=f"Send multipart/form-data with 'file' and 'purpose', not {request.content_type}.")
    incoming = world.shelf.receive()
    await incoming.open()
    try:
        fields, filename = await _receive(request, incoming)
        purpose = fields.get("purpose")
        if purpose is None:
            raise MissingParameter(param="purpose")
        if purpose != PURPOSE:
            raise InvalidParameter(param="purpose", why=f"files are kept here for {PURPOSE!r} alone, not {purpose!r}")
        if filename is None:
            raise MissingParameter(param="file")
        if incoming.bytes == 0:
            raise InvalidParameter(param="file", why="it is empty; send at least ten examples, one JSON object a line")
        file = File(
            id=new_id("file-"),
            project=caller.project,
            filename=filename,
            purpose=purpose,
            bytes=incoming.bytes,
            created_at=int(time.time()),
            sha256="",
        )
        await incoming.keep(file.id)
        file = file.model_copy(update={"sha256": incoming.sha256})
        try:
            await world.store.files.add(file)
        except BaseException:
            await world.shelf.remove(file.id)
            raise
    finally:
        await incoming.close()
    return web.json_response(file_object(file))


async def _receive(request: web.Request, incoming: Incoming) -> tuple[dict[str, str], str | None]:
    """The form's small fields, and the file's name; its bytes go to `incoming`."""
    fields: dict[str, str] = {}
    filename: str | None = None
    deadline = Deadline()
    try:
        reader = await request.multipart()
        while (part := await deadline.wait(reader.next(), incoming.bytes)) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise InvalidBody(why="a part has no name, or is itself multipart")
            if part.name == "file":
                if filename is not None:
                    raise InvalidParameter(param="file", why="there are two; send one at a time")
                filename = _clean(part.filename)
                await _store(part, incoming, deadline)
            elif part.name in ("purpose",):
                fields[part.name] = await _field(part, deadline)
            else:
                raise UnknownParameter(param=part.name[:80])
    except (HttpProcessingError, ValueError, RuntimeError, web.RequestPayloadError) as error:
        raise InvalidBody(why=f"the form cannot be read: {str(error)[:200]}") from error
    return fields, filename


async def _store(part: BodyPartReader, incoming: Incoming, deadline: Deadline) -> None:
    while chunk := await deadline.wait(part.read_chunk(CHUNK), incoming.bytes):
        if incoming.bytes + len(chunk) > FILE_BYTES:
            raise TooLarge(limit=FILE_BYTES)
        await incoming.write(chunk)


async def _field(part: BodyPartReader, deadline: Deadline) -> str:
    content = b""
    while chunk := await deadline.wait(part.read_chunk(FIELD_BYTES), 0):
        content += chunk
        if len(content) > FIELD_BYTES:
            raise InvalidParameter(param=part.name, why=f"it is longer than {FIELD_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidParameter(param=part.name, why="it is not UTF-8") from None


def _clean(filename: str | None) -> str:
    """Shown, never used as a path."""
    name = (filename or "dataset.jsonl").replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in name if character.isprintable())[:255] or "dataset.jsonl"


async def list_(request: web.Request) -> web.Response:
    known_only(request, "purpose", "limit", "order", "after")
    files, more = await world_of(request).store.files.page(
        caller_of(request).project,
        after=request.query.get("after"),
        limit=integer(request, "limit", 10_000, 1, 10_000),
        purpose=request.query.get("purpose"),
        ascending=choice(request, "order", "desc", ("asc", "desc")) == "asc",
    )
    return web.json_response(
        {
            "object": "list",
            "data": [file_object(file) for file in files],
            "first_id": files[0].id if files else None,
            "last_id": files[-1].id if files else None,
            "has_more": more,
        }
    )


async def retrieve(request: web.Request) -> web.Response:
    return web.json_response(file_object(await _file(request)))


async def content(request: web.Request) -> web.StreamResponse:
    file = await _file(request)
    if file.purpose != PURPOSE and file.status == "uploaded":
        raise FileNotFetchedYet(id=file.id)
    shelf = world_of(request).shelf
    if not await shelf.exists(file.id):
        raise FileContentGone(id=file.id)
    return web.FileResponse(shelf.path(file.id), headers={"content-type": "application/octet-stream"})


async def delete(request: web.Request) -> web.Response:
    world, file_id = world_of(request), request.match_info["file_id"]
    await world.store.files.delete(file_id, caller_of(request).project)
    await world.shelf.remove(file_id)
    answer: dict[str, Any] = {"id": file_id, "object": "file", "deleted": True}
    return web.json_response(answer)


async def _file(request: web.Request) -> File:
    return await world_of(request).store.files.read(request.match_info["file_id"], caller_of(request).project)
