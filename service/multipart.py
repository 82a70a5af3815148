"""Reads multipart forms: small fields into memory; the one file is streamed to storage."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from service.connections import reason
from service.requests import Deadline, refuse_encoding
from tunehook.errors import InvalidForm, InvalidParameter, MissingParameter, TooLarge, UnknownParameter, WrongMediaType
from tunehook.wording import did_you_mean

FIELD_BYTES = 1024
#: One before each part and two at the end. A preamble is allowed, if it is short.
MOST_LINES = 32
#: Of a part's header: a name of 255 characters, each escaped, fits.
LINE_BYTES = 4096
# Otherwise each odd header is written to stderr, and kept to be written once.
warnings.simplefilter("ignore", BadContentDispositionHeader)
warnings.simplefilter("ignore", BadContentDispositionParam)
CHUNK = 256 * 1024
Chunk = bytes  # in a class that has a member of that name


class _Reader(MultipartReader):
    """aiohttp's reader, for few lines outside of parts, and none that are read in one go.

    What lies in its buffer it reads without a pause for others: 20,000 fields, or a megabyte of blank lines before
    the first boundary, took 18 s of the event loop.
    """

    _lines = 0

    async def _readline(self) -> bytes:
        self._lines += 1
        if self._lines > MOST_LINES:
            raise ValueError("it has too many parts")
        await asyncio.sleep(0)
        return await super()._readline()


def _why(error: Exception) -> str:
    words = reason(error)
    return "Content-Type has no boundary, or one that is too long" if words.startswith("boundary") else words


class Sink(Protocol):
    """Takes a file's bytes as they arrive."""

    @property
    def bytes(self) -> int: ...

    async def write(self, chunk: Chunk) -> None: ...


@dataclass(frozen=True)
class Form:
    fields: Mapping[str, str]
    filename: str


async def receive(
    request: web.Request,
    incoming: Sink,
    *,
    file: str,
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    limit: int,
    field_bytes: int = FIELD_BYTES,
) -> Form:
    """Reads a form whose file is called `file`; its bytes, `limit` at most, go to `incoming`.

    Raises a RequestError for an unknown or missing field, one that comes twice, or a form that is cut off.
    """
    refuse_encoding(request)
    if request.content_type != "multipart/form-data":
        wanted = " and ".join(f"'{name}'" for name in (file, *required))
        raise WrongMediaType(why=f"Send multipart/form-data with {wanted}, not {request.content_type}.")
    found: dict[str, str] = {}
    filename: str | None = None
    deadline = Deadline()
    try:
        reader = _Reader(request.headers, request.content, max_field_size=LINE_BYTES, max_headers=MOST_LINES)
        while (part := await deadline.wait(reader.next(), incoming.bytes)) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise InvalidForm(why="a part of the form has no name, or is itself multipart")
            if part.name == file:
                if filename is not None:
                    raise InvalidParameter(param=file, why="the form has two files; send one at a time")
                filename = clean_name(part.filename)
                await _store(part, incoming, deadline, limit)
            elif part.name in found:
                raise InvalidParameter(param=part.name, why="the form has it twice; send it once")
            elif part.name in required or part.name in optional:
                found[part.name] = await _field(part, deadline, field_bytes)
            else:
                raise UnknownParameter(param=part.name[:80], hint=did_you_mean(part.name, (*required, *optional, file)))
    except (HttpProcessingError, ValueError, RuntimeError, web.RequestPayloadError) as error:
        raise InvalidForm(why=_why(error)) from error
    for name in required:
        if name not in found:
            raise MissingParameter(param=name)
    if filename is None:
        raise MissingParameter(param=file)
    return Form(found, filename)


async def _store(part: BodyPartReader, incoming: Sink, deadline: Deadline, limit: int) -> None:
    while chunk := await deadline.wait(part.read_chunk(CHUNK), incoming.bytes):
        if incoming.bytes + len(chunk) > limit:
            raise TooLarge(limit=limit)
        await incoming.write(chunk)


async def _field(part: BodyPartReader, deadline: Deadline, limit: int) -> str:
    content = b""
    while chunk := await deadline.wait(part.read_chunk(FIELD_BYTES), 0):
        content += chunk
        if len(content) > limit:
            raise InvalidParameter(param=part.name, why=f"it is longer than {limit} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidParameter(param=part.name, why="it is not UTF-8") from None


def clean_name(filename: str | None) -> str:
    """Returns the name as it is shown; it is never used as a path."""
    name = (filename or "dataset.jsonl").replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in name if character.isprintable())[:255] or "dataset.jsonl"
