"""Files that arrive: multipart bodies, streamed (text fields, and one file of any size), and the parts of an upload."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePath

from aiohttp import BodyPartReader, web

from wire.blob import Blob
from wire.bodies import FILE_FORM
from wire.problems import Problem, bad
from wire.shapes import Upload

#: Bytes of a file, and of a part of an upload, at most.
LARGEST_FILE, LARGEST_PART = 512 * 2**20, 64 * 2**20
_CHUNK = 256 * 2**10
_EXPIRES = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}

#: Makes the place where bytes go.
Place = Callable[[], Blob]


async def file_of(request: web.Request, place: Place) -> tuple[str, str, int | None, Blob]:
    """What `POST /files` sends: the file's name, its purpose, after how many seconds it expires, and its bytes."""
    async with _parts(request, LARGEST_FILE, "file", place) as (fields, filename, blob):
        expires = {short: _number(fields.pop(name)) for name, short in _EXPIRES.items() if name in fields}
        FILE_FORM({**fields, "expires_after": expires} if expires else fields, "")
        if blob is None or not filename:
            raise bad("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
        return filename, fields["purpose"], int(expires["seconds"]) if expires else None, blob


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else text


async def part_of(request: web.Request, place: Place) -> Blob:
    """The bytes that `POST /uploads/{id}/parts` sends."""
    async with _parts(request, LARGEST_PART, "data", place) as (fields, _, blob):
        if blob is None:
            raise bad("Missing required parameter: 'data'.", param="data", code="missing_required_parameter")
        if fields:
            raise bad(f"Unknown parameter: '{min(fields)}'.", param=min(fields), code="unknown_parameter")
        return blob


@asynccontextmanager
async def _parts(
    request: web.Request, most: int, file_field: str, place: Place
) -> AsyncIterator[tuple[dict[str, str], str | None, Blob | None]]:
    """A multipart body: its text fields, the file's name, and its bytes, at most `most`. An error removes them."""
    fields: dict[str, str] = {}
    filename: str | None = None
    blob: Blob | None = None
    try:
        async for part in _named(request):
            if part.name != file_field:
                fields[str(part.name)] = await _text(part)
                continue
            if blob is not None:
                await asyncio.to_thread(blob.close)
            filename, blob = part.filename, await asyncio.to_thread(place)
            await _receive(part, most, blob)
        yield fields, filename, blob
    except BaseException:
        if blob is not None:
            await asyncio.to_thread(blob.close)
        raise


async def _named(request: web.Request) -> AsyncIterator[BodyPartReader]:
    if request.content_type != "multipart/form-data":
        raise bad("The body must be multipart/form-data.")
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise bad("Every part of the body needs a name.")
            yield part
    except ValueError as error:
        raise bad(f"The multipart body is malformed: {error}") from error


async def _text(part: BodyPartReader) -> str:
    found = b""
    while chunk := await part.read_chunk(4096):
        found += chunk
        if len(found) > 4096:
            raise bad(f"The field '{part.name}' is too long.", param=part.name)
    return found.decode("utf-8", "replace")


async def _receive(part: BodyPartReader, most: int, blob: Blob) -> None:
    while chunk := await part.read_chunk(_CHUNK):
        if blob.size + len(chunk) > most:
            raise Problem(413, f"File is too large: at most {most} bytes are accepted.", None, "file")
        await asyncio.to_thread(blob.write, chunk)


async def check_file(filename: str, purpose: str, blob: Blob) -> None:
    """Raises Problem 400 for an empty file, and for a dataset that is not called .jsonl; its bytes are removed."""
    suffix = PurePath(filename).suffix
    if blob.size == 0:
        problem = bad("The file is empty.", param="file", code="empty_file")
    elif purpose == "fine-tune" and suffix != ".jsonl":
        words = f'Invalid extension {suffix.lstrip(".") or "(none)"}. Supported formats: "jsonl"'
        problem = bad(words, param="file", code="invalid_file_extension")
    else:
        return
    await asyncio.to_thread(blob.close)
    raise problem


def join(upload: Upload, parts: Sequence[Path], md5: str | None, place: Place) -> Blob:
    """Returns the parts of an upload as one. Raises Problem 400 where they are not as announced. Blocks on the disk."""
    whole, digest = place(), hashlib.md5(usedforsecurity=False)
    try:
        for path in parts:
            with path.open("rb") as part:
                while chunk := part.read(_CHUNK):
                    whole.write(chunk)
                    digest.update(chunk)
    except FileNotFoundError as gone:  # another request has completed or cancelled it
        whole.close()
        raise bad(f"Upload {upload.id} is over.", param="id", code="invalid_state") from gone
    if whole.size != upload.size:
        words = f"The parts have {whole.size} bytes; the upload was announced with {upload.size}."
        problem = bad(words, param="part_ids", code="invalid_upload_size")
    elif md5 not in {None, digest.hexdigest()}:
        problem = bad("The md5 of the parts differs from the one given.", param="md5", code="invalid_value")
    else:
        return whole
    whole.close()
    raise problem
