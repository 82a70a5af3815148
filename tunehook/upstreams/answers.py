"""Answers: the HTTP client below the SDK, which bounds them, and words for connections that failed.

No redirect is followed: it would take our key and a client's data elsewhere, and its answer would pass for this
upstream's. No answer is read further than its kind can be long, counted after decompression.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from functools import reduce
from typing import Any

import httpx2
from pydantic_core import from_json, to_json

from tunehook import telemetry
from tunehook.errors import UpstreamError, UpstreamTooLarge, UpstreamUnknown, UpstreamUnreachable
from tunehook.security.tls import ssl_context

MIB = 1024 * 1024
#: Bytes of an answer: an error; JSON (a page of 100 jobs with large graders); a file; a chat, which is passed on in
#: pieces and not kept (128k tokens with 20 log probabilities each are 300 MB).
ERROR_BYTES, JSON_BYTES, FILE_BYTES, CHAT_BYTES = MIB, 16 * MIB, 32 * MIB, 512 * MIB
#: Bytes of a file that is read piece by piece, to the disk: the most that an upload in parts can have.
DATASET_BYTES = 8 * 1024 * MIB
#: Brackets and commas in JSON; each becomes up to 64 bytes in memory.
JSON_MARKS = 2_000_000
#: A record may be nested 254 deep; a part of an answer may lie so much deeper in one than in the answer.
DEPTH_SPARE = 20
#: No call waits for one of these: a poll makes eight at once, and the API one per request.
_LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
#: Instead of an upstream's key in its own answer. Shorter keys ("none", at a server of one's own) are no secret.
HIDDEN, LEAST_KEY = "(key hidden)", 16
#: Nothing was sent, for certain.
_SENT_NOTHING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, ssl.SSLCertVerificationError)
_BROKEN: dict[type[BaseException], str] = {
    httpx2.ReadTimeout: "it stopped sending",
    httpx2.WriteTimeout: "it stopped reading",
    httpx2.ReadError: "the connection broke off",
    httpx2.WriteError: "the connection broke off",
    httpx2.RemoteProtocolError: "the connection broke off, or the answer is not HTTP",
    httpx2.DecodingError: "its compression cannot be read",
}


#: (upstream, HTTP status or `none`) → answers of this process that are not yet in the metrics.
_had: Counter[tuple[str, str]] = Counter()


def take_counts() -> dict[tuple[str, str], int]:
    """Returns how many answers this process had since the last call, by upstream and HTTP status."""
    counts = dict(_had)
    _had.clear()
    return counts


#: The type of a form whose bytes come piece by piece. The SDK would make a form of its own of any `content-type`.
FORM_HEADER = "x-form-type"


class BoundedClient(httpx2.AsyncClient):
    """An HTTP client for one upstream. Raises UpstreamTooLarge when an answer passes its limit.

    `json_bytes`: the limit of a JSON answer.
    """

    def __init__(self, name: str, *, json_bytes: int = JSON_BYTES) -> None:
        super().__init__(verify=ssl_context(), limits=_LIMITS, follow_redirects=False)
        self._name, self._json_bytes = name, json_bytes

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: object = None,
        follow_redirects: object = None,
    ) -> httpx2.Response:
        """Returns the answer, decompressed. `auth` and `follow_redirects` have no effect: the SDK sets a header."""
        request.headers.update(telemetry.headers())
        if form := request.headers.pop(FORM_HEADER, None):
            request.headers["content-type"] = form
        try:
            whole = await super().send(request, stream=True, follow_redirects=False)
        except (httpx2.TransportError, asyncio.CancelledError):  # cancelled: its time is over
            _had[self._name, "none"] += 1
            raise
        status = whole.status_code
        _had[self._name, str(status) if 100 <= status < 600 else "other"] += 1
        encoded = ("content-encoding", "content-length")
        key = _key_of(request)
        answer = httpx2.Response(
            whole.status_code,
            headers=[
                (name, value.replace(key, HIDDEN) if key else value)
                for name, value in whole.headers.multi_items()
                if name.lower() not in encoded
            ],
            stream=_Bounded(whole, self._limit(request, whole, stream), self._name, key),
            request=request,
            extensions=whole.extensions,
        )
        if not stream:
            try:
                await answer.aread()
            finally:
                await answer.aclose()
        return answer

    def _limit(self, request: httpx2.Request, answer: httpx2.Response, stream: bool) -> int:
        if not answer.is_success:
            return ERROR_BYTES
        if request.url.path.endswith(("/chat/completions", "/responses")):
            return CHAT_BYTES
        if request.url.path.endswith("/content"):
            return DATASET_BYTES if stream else FILE_BYTES
        return self._json_bytes


def _key_of(request: httpx2.Request) -> str:
    """Returns the key that the request bears; empty for one that is too short to be told from other words."""
    key = request.headers.get("authorization", "").rpartition(" ")[2] or request.headers.get("api-key", "")
    return key if len(key) >= LEAST_KEY else ""


def _without(key: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Returns the content with the key hidden, and its end if the key may begin there."""
    content = content.replace(key, HIDDEN.encode())
    begun = next((size for size in range(min(len(key) - 1, len(content)), 0, -1) if content.endswith(key[:size])), 0)
    return (content[:-begun], content[-begun:]) if begun else (content, b"")


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, up to its limit, without the key that it was asked with: some upstreams repeat it."""

    def __init__(self, whole: httpx2.Response, limit: int, name: str, key: str) -> None:
        self._whole, self._limit, self._name, self._key = whole, limit, name, key.encode()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read, kept = 0, b""
        async for chunk in self._whole.aiter_bytes():
            read += len(chunk)
            if read > self._limit:
                raise UpstreamTooLarge(upstream=self._name, limit=self._limit)
            if self._key:
                chunk, kept = _without(self._key, kept + chunk)  # noqa: PLW2901
            yield chunk
        if kept:
            yield kept

    async def aclose(self) -> None:
        await self._whole.aclose()


def json_object(name: str, content: bytes) -> dict[str, Any]:
    """Returns an answer's JSON object. Raises UpstreamUnknown for anything else.

    Halves of surrogate pairs become question marks, and NaN becomes null: clients could not be sent them.
    """
    if len(content) > MIB and sum(map(content.count, (b"{", b"[", b","))) > JSON_MARKS:
        raise UpstreamUnknown(upstream=name, why="the answer is JSON of too many members")
    try:
        value = from_json(content, allow_inf_nan=False)  # 10,000 jobs: 0.08 s of CPU; json.loads and the mends: 0.3 s
    except ValueError:
        value = _mended(name, content)
    if not isinstance(value, dict):
        raise UpstreamUnknown(upstream=name, why="the answer is not a JSON object")
    return value


def _mended(name: str, content: bytes) -> object:
    """Returns the value of JSON that is nested over 200 deep, or has NaN or half a surrogate pair."""
    try:
        value = json.loads(content, parse_constant=lambda _: None)
        if b"\\ud" in content or b"\\uD" in content:
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise UpstreamUnknown(upstream=name, why="the answer is not JSON") from error
    try:
        to_json(reduce(lambda inner, _: [inner], range(DEPTH_SPARE), value))
    except ValueError as error:
        raise UpstreamUnknown(upstream=name, why="the answer is JSON that is nested too deep") from error
    return value


def error_body(name: str, status: int, content: bytes) -> bytes:
    """Returns an error answer in OpenAI's shape: as it came, if it has that shape."""
    try:
        value = json_object(name, content)
    except UpstreamUnknown:
        value = {}
    error = value.get("error")
    if not isinstance(error, dict):
        error = {"message": error or value.get("message") or value.get("detail")}
    members = {"message": None, "type": "upstream_error", "param": None, "code": None}
    if members.keys() <= error.keys() and isinstance(error["message"], str):
        return content
    if not isinstance(error.get("message"), str):
        error["message"] = f"The upstream '{name}' answered {status} and gave no reason."
    return json.dumps({"error": members | error}).encode()


def no_answer(name: str, cause: BaseException | None) -> UpstreamError:
    """Returns the error for a call that `cause` ended before there was an answer."""
    if isinstance(cause, UpstreamError):
        return cause
    if isinstance(cause, _SENT_NOTHING):
        return UpstreamUnreachable(upstream=name, why=_why_unreachable(cause))
    kinds = type(cause).__mro__ if cause is not None else ()
    why = next((_BROKEN[kind] for kind in kinds if kind in _BROKEN), f"{type(cause).__name__}: {cause}")
    return UpstreamUnknown(upstream=name, why=why)


def _why_unreachable(error: BaseException) -> str:
    """Returns in words why no connection could be made, without host and address: clients read it."""
    if isinstance(error, httpx2.ConnectTimeout):
        return "it did not answer in time"
    if isinstance(error, httpx2.PoolTimeout):
        return "all connections to it are in use"
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case BaseExceptionGroup():  # one for each address of the host
                cause = cause.exceptions[0]
                continue
            case ssl.SSLCertVerificationError():
                return f"its TLS certificate is not accepted ({cause.verify_message.partition(',')[0]})"
            case ssl.SSLError():
                return f"TLS failed ({cause.reason or cause})"
            case socket.gaierror():
                return "its host name cannot be resolved"
            case ConnectionRefusedError():
                return "the connection was refused"
            case TimeoutError():
                return "it did not answer in time"
            case ConnectionError():
                return "the connection was closed"
            case OSError() if cause.errno is not None:
                return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
