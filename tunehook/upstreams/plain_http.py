"""Plain HTTP for vendors without an SDK here: one try, no redirects, a total time, a limit on answers.

Every error is an UpstreamError that says what is known of the outcome. A vendor's dialect turns refusals into errors.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from tunehook.errors import UpstreamError, UpstreamUnauthorized, UpstreamUnknown
from tunehook.upstreams import answers
from tunehook.upstreams.protocol import Passed, Progress, Source

CALL_SECONDS = 25.0
CONNECT_SECONDS = 5.0
#: For a whole file, and for a chat's answer between two of its pieces.
FILE_SECONDS, CHAT_SECONDS = 600.0, 600.0
#: A list without pages has 40 MB for 20,000 jobs.
LIST_BYTES = 64 * answers.MIB
#: JSON above this size is parsed in a thread.
LARGE_BYTES = 256 * 1024
PROGRESS_SECONDS = 0.5
_JSON = {"content-type": "application/json"}
_PASSED_ON = ("retry-after", "x-request-id")

#: (upstream's name, HTTP status, the answer's JSON or None, headers) → what is known of the outcome.
Refusal = Callable[[str, int, object, Mapping[str, str]], UpstreamError]


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end. `value`: its JSON object, or None for anything else."""

    status: int
    headers: Mapping[str, str]
    value: dict[str, Any] | None


class PlainHttp:
    """The client of one upstream. Opens nothing until the first call.

    `seconds`: for a call in all. `most_bytes`: of an answer.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        key: str,
        refusal: Refusal,
        *,
        seconds: float = CALL_SECONDS,
        most_bytes: int = LIST_BYTES,
    ) -> None:
        self._name, self._base_url, self._refusal, self._seconds = name, base_url, refusal, seconds
        self._headers = {"authorization": f"Bearer {key}", "user-agent": "tunehook"}
        self._client = answers.BoundedClient(name, json_bytes=most_bytes)

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, query: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        return self.object_of(await self.send("GET", path, query=query))

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        return self.object_of(await self.send("POST", path, body=body, query=query))

    def object_of(self, answer: Answer) -> dict[str, Any]:
        """Returns the answer's JSON object. Raises UpstreamUnknown: the call may have had an effect."""
        if answer.value is None:
            raise UpstreamUnknown(upstream=self._name, why="the answer is not a JSON object")
        return answer.value

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        also: frozenset[int] = frozenset(),
        seconds: float | None = None,
    ) -> Answer:
        """Sends one request, with `body` as JSON, or `form` as multipart, or `content` as it is.

        Statuses of 200 to 299 and those in `also` are answers; others are raised as the dialect's refusals.
        """
        request = self._client.build_request(
            method,
            self._base_url + path,
            params=query,
            content=content if body is None else json.dumps(body).encode(),
            files={name: (None, value) for name, value in form.items()} if form is not None else None,
            headers={**self._headers, **(_JSON if body is not None else {}), **(headers or {})},
            timeout=httpx2.Timeout(seconds or self._seconds, connect=CONNECT_SECONDS),
        )
        async with self._guard(seconds or self._seconds):
            response = await self._client.send(request)
        answer = Answer(response.status_code, response.headers, await self._parsed(response.content))
        if response.is_success or answer.status in also:
            return answer
        raise self._refusal(self._name, answer.status, answer.value, answer.headers)

    async def _parsed(self, raw: bytes) -> dict[str, Any] | None:
        """Returns the JSON object, or None for anything else."""
        with suppress(UpstreamUnknown):
            if len(raw) > LARGE_BYTES:
                return await asyncio.to_thread(answers.json_object, self._name, raw)
            return answers.json_object(self._name, raw)
        return None

    async def send_file(self, path: str, source: FileSource, size: int, *, filename: str) -> Answer:
        """Sends `size` bytes in one request, as the file of a multipart form."""
        headers, head, tail = file_form(filename, size)
        return await self.send("POST", path, content=source.chunks(head, tail), headers=headers, seconds=FILE_SECONDS)

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[Passed]:
        """Passes an answer on as its bytes come, without a total time; an error in OpenAI's shape.

        Raises for a refusal of our key, whose message quotes a part of it, and for a redirect or a web page.
        """
        request = self._client.build_request(
            "POST",
            self._base_url + path,
            content=json.dumps(body).encode(),
            headers={**self._headers, **_JSON},
            timeout=httpx2.Timeout(CHAT_SECONDS, connect=CONNECT_SECONDS),
        )
        async with self._guard(None):
            response = await self._client.send(request, stream=True)
            try:
                yield await self._passed(response)
            finally:
                await response.aclose()

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a file's bytes as they come. Raises the dialect's refusals, and for a redirect or a web page."""
        request = self._client.build_request(
            "GET",
            self._base_url + path,
            headers=self._headers,
            timeout=httpx2.Timeout(self._seconds, connect=CONNECT_SECONDS),
        )
        async with self._guard(FILE_SECONDS):
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code >= 400:
                    value = await self._parsed(await response.aread())
                    raise self._refusal(self._name, response.status_code, value, response.headers)
                if not response.is_success or response.headers.get("content-type", "").lower().startswith("text/html"):
                    raise UpstreamUnknown(upstream=self._name, why="it answered with a redirect or a web page")
                yield response.aiter_bytes()
            finally:
                await response.aclose()

    async def _passed(self, response: httpx2.Response) -> Passed:
        status, kind = response.status_code, response.headers.get("content-type", "application/json")
        if status == 401:
            raise UpstreamUnauthorized(upstream=self._name, status=status)
        chunks: AsyncIterator[bytes] = response.aiter_bytes()
        if status >= 400:
            kind, chunks = "application/json", _once(answers.error_body(self._name, status, await response.aread()))
        elif not response.is_success or kind.lower().startswith("text/html"):
            raise UpstreamUnknown(upstream=self._name, why="it answered with a redirect or a web page")
        headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
        return Passed(status=status, content_type=kind, chunks=chunks, headers=headers)

    @asynccontextmanager
    async def _guard(self, seconds: float | None) -> AsyncIterator[None]:
        """Turns every error of the client into an UpstreamError that says what is known of the outcome."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except UpstreamError:
            raise
        except TimeoutError as error:
            raise UpstreamUnknown(upstream=self._name, why=f"none within {seconds} s") from error
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, ssl.SSLError) as error:
            raise answers.no_answer(self._name, error) from error


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


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
