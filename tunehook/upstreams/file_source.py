"""A file that is sent to an upstream piece by piece, as the part of a form or alone, and how much of it was sent."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tunehook.upstreams.protocol import Progress, Source

PROGRESS_SECONDS = 0.5


def file_form(filename: str, size: int, fields: Mapping[str, str] | None = None) -> tuple[dict[str, str], bytes, bytes]:
    """Returns a multipart form around a file's bytes: its headers, what comes before them, and what after."""
    boundary = secrets.token_hex(16)
    opening = f"--{boundary}\r\nContent-Disposition: form-data; name="
    before = "".join(f'{opening}"{name}"\r\n\r\n{value}\r\n' for name, value in (fields or {}).items())
    head = f'{before}{opening}"file"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "content-type": f"multipart/form-data; boundary={boundary}",
        "content-length": str(len(head) + size + len(tail)),
    }
    return headers, head, tail


class FileSource:
    """A file that is sent piece by piece. Counts the bytes that were taken from it."""

    def __init__(self, file: Source) -> None:
        self._file = file
        self.sent = 0

    async def chunks(self, before: bytes = b"", after: bytes = b"") -> AsyncIterator[bytes]:
        """Yields `before`, the file from its begin, and `after`."""
        self.sent = 0
        if before:
            yield before
        async for chunk in self._file.chunks():
            yield chunk
            self.sent += len(chunk)
        if after:
            yield after


@asynccontextmanager
async def file_source(file: Source, progress: Progress) -> AsyncIterator[FileSource]:
    """Makes a source of a file to be sent, and reports the bytes sent twice a second.

    A report that fails ends the reports, not the upload.
    """
    source = FileSource(file)

    async def _report() -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await progress(source.sent)

    reporter = asyncio.create_task(_report())
    try:
        yield source
    finally:
        reporter.cancel()
