"""Plain HTTP for vendors without an SDK here: one try, no redirects, a total time, a limit on answers.

Every error is an UpstreamError that says what is known of the outcome. A vendor's dialect turns refusals into errors.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnauthorized, UpstreamUnknown
from tunehook.upstreams import answers
from tunehook.upstreams.protocol import Passed

CALL_SECONDS = 25.0
CONNECT_SECONDS = 5.0
#: For a whole file, or for joining its parts; and for a chat's answer between two of its pieces.
FILE_SECONDS, CHAT_SECONDS = 600.0, 600.0
#: A list without pages has 40 MB for 20,000 jobs.
LIST_BYTES = 64 * answers.MIB
#: JSON above this size is parsed in a thread.
LARGE_BYTES = 256 * 1024
_JSON = {"content-type": "application/json"}
_PASSED_ON = ("retry-after", "x-request-id", "x-should-retry")

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

    `key`: a bearer token. `seconds`: for a call in all. `most_bytes`: of an answer.
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

    async def find(self, path: str) -> dict[str, Any] | None:
        """Returns what is there, or None for 404."""
        try:
            return await self.get(path)
        except UpstreamRefused as refused:
            if refused.status == 404:
                return None
            raise

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

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[Passed]:
        """Passes an answer on as its bytes come, without a total time; an error in OpenAI's shape.

        Raises for a refusal of our key, whose message quotes a part of it, and for a redirect or a web page.
        """
        content = json.dumps(body).encode()
        async with self._opened("POST", path, CHAT_SECONDS, None, content=content, headers=_JSON) as response:
            yield await self._passed(response)

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a file's bytes as they come. Raises the dialect's refusals, and for a redirect or a web page."""
        async with self._opened("GET", path, self._seconds, FILE_SECONDS) as response:
            if response.status_code >= 400:
                value = await self._parsed(await response.aread())
                raise self._refusal(self._name, response.status_code, value, response.headers)
            refuse_page(self._name, response)
            yield response.aiter_bytes()

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        path: str,
        seconds: float,
        in_all: float | None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """Opens an answer that is read as it comes. `seconds`: between two pieces; `in_all`: None for no limit."""
        request = self._client.build_request(
            method,
            self._base_url + path,
            content=content,
            headers={**self._headers, **(headers or {})},
            timeout=httpx2.Timeout(seconds, connect=CONNECT_SECONDS),
        )
        async with self._guard(in_all):
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()

    async def _passed(self, response: httpx2.Response) -> Passed:
        status = response.status_code
        if status == 401:
            raise UpstreamUnauthorized(upstream=self._name, status=status)
        if status >= 400:
            return refusal_passed(self._name, response, await response.aread())
        refuse_page(self._name, response)
        return passed(response, response.aiter_bytes())

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


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Yields content that was read before."""
    yield content


def passed(answer: httpx2.Response, chunks: AsyncIterator[bytes]) -> Passed:
    """Returns an answer to be passed on."""
    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return Passed(answer.status_code, answer.headers.get("content-type", "application/json"), chunks, headers)


def refusal_passed(name: str, answer: httpx2.Response, content: bytes) -> Passed:
    """Returns an error answer to be passed on, in OpenAI's shape whatever the upstream `name` sent."""
    body = answers.error_body(name, answer.status_code, content)
    return replace(passed(answer, once(body)), content_type="application/json")


def refuse_page(name: str, answer: httpx2.Response) -> None:
    """Raises UpstreamUnknown for a redirect, and for a web page: a proxy's, or of a wrong base URL."""
    if not answer.is_success or answer.headers.get("content-type", "").lower().startswith("text/html"):
        raise UpstreamUnknown(upstream=name, why="it answered with a redirect or a web page")
