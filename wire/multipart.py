"""Multipart bodies, streamed: text fields, and one file of any size."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Protocol, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web

from wire.bodies import EXPIRES_AFTER, PURPOSES
from wire.checking import one_of
from wire.problems import Problem, bad

#: Bytes of a file, and of a part of an upload, at most.
LARGEST_FILE, LARGEST_PART = 512 * 2**20, 64 * 2**20
_CHUNK = 256 * 2**10
_EXPIRES = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


class Sink(Protocol):
    """Where the bytes go; `close` forgets them."""

    @property
    def size(self) -> int: ...

    async def append(self, chunk: bytes) -> None: ...

    def close(self) -> None: ...


Place = TypeVar("Place", bound=Sink)


async def file_of(request: web.Request, place: Callable[[], Place]) -> tuple[str, str, int | None, Place]:
    """What `POST /files` sends: the file's name, its purpose, after how many seconds it expires, and its bytes."""
    fields, filename, blob = await parts_of(request, LARGEST_FILE, "file", place)
    try:
        for name in fields:
            if name != "purpose" and name not in _EXPIRES:
                raise bad(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        if "purpose" not in fields:
            raise bad("Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
        one_of(*PURPOSES)(fields["purpose"], "purpose")
        expires = expires_after(fields)
        if blob is None or not filename:
            raise bad("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    except Problem:
        if blob is not None:
            blob.close()
        raise
    return filename, fields["purpose"], expires, blob


async def part_of(request: web.Request, place: Callable[[], Place]) -> Place:
    """The bytes that `POST /uploads/{id}/parts` sends."""
    fields, _, blob = await parts_of(request, LARGEST_PART, "data", place)
    if blob is None:
        raise bad("Missing required parameter: 'data'.", param="data", code="missing_required_parameter")
    if fields:
        blob.close()
        raise bad(f"Unknown parameter: '{min(fields)}'.", param=min(fields), code="unknown_parameter")
    return blob


def check_file(filename: str, purpose: str, size: int) -> None:
    """Raises Problem 400 for an empty file, and for a dataset that is not called .jsonl."""
    if size == 0:
        raise bad("The file is empty.", param="file", code="empty_file")
    suffix = PurePath(filename).suffix
    if purpose == "fine-tune" and suffix != ".jsonl":
        words = f'Invalid extension {suffix.lstrip(".") or "(none)"}. Supported formats: "jsonl"'
        raise bad(words, param="file", code="invalid_file_extension")


async def parts_of(
    request: web.Request, most: int, file_field: str, place: Callable[[], Place]
) -> tuple[dict[str, str], str | None, Place | None]:
    """A multipart body: its text fields, the file's name, and its bytes (at most `most`) in a new `place()`."""
    if request.content_type != "multipart/form-data":
        raise bad("The body must be multipart/form-data.")
    try:
        reader = await request.multipart()
    except ValueError as error:
        raise bad(f"The multipart body is malformed: {error}") from error
    fields: dict[str, str] = {}
    filename: str | None = None
    blob: Place | None = None
    try:
        while (part := await _next(reader)) is not None:
            if part.name != file_field:
                fields[str(part.name)] = await _text(part)
                continue
            if blob is not None:
                blob.close()
            filename, blob = part.filename, place()
            await _receive(part, most, blob)
    except BaseException:
        if blob is not None:
            blob.close()
        raise
    return fields, filename, blob


async def _next(reader: MultipartReader) -> BodyPartReader | None:
    try:
        part = await reader.next()
    except ValueError as error:
        raise bad(f"The multipart body is malformed: {error}") from error
    if part is not None and (not isinstance(part, BodyPartReader) or part.name is None):
        raise bad("Every part of the body needs a name.")
    return part


async def _text(part: BodyPartReader) -> str:
    found = b""
    while chunk := await part.read_chunk(4096):
        found += chunk
        if len(found) > 4096:
            raise bad(f"The field '{part.name}' is too long.", param=part.name)
    return found.decode("utf-8", "replace")


async def _receive(part: BodyPartReader, most: int, blob: Sink) -> None:
    while chunk := await part.read_chunk(_CHUNK):
        if blob.size + len(chunk) > most:
            raise Problem(413, f"File is too large: at most {most} bytes are accepted.", None, "file")
        await blob.append(chunk)


def expires_after(fields: dict[str, str]) -> int | None:
    given: dict[str, object] = {short: fields[name] for name, short in _EXPIRES.items() if name in fields}
    if not given:
        return None
    seconds = given.get("seconds")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 12:
        given["seconds"] = int(seconds)
    EXPIRES_AFTER(given, "expires_after")
    return int(str(given["seconds"]))
