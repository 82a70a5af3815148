"""Reads requests: bodies with a size limit and a deadline, and query parameters."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import web

from tunehook.context import Context
from tunehook.errors import (
    InvalidBody,
    InvalidParameter,
    MissingParameter,
    NotFound,
    TooLarge,
    TooSlow,
    UnknownParameter,
    WrongMediaType,
)
from tunehook.model.api_key import ApiKey
from tunehook.openai_format import strict_json
from tunehook.wording import did_you_mean

CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
CALLER: web.RequestKey[ApiKey] = web.RequestKey("caller", ApiKey)
#: The answer is a stream of events, which ends when its client goes. Other requests are worked on to their end.
STREAMED: web.RequestKey[bool] = web.RequestKey("streamed", bool)
#: The larger one where a grader, a conversation, pairs or the ids of 10,000 parts are taken.
SMALL_BYTES, BODY_BYTES = 64 * 1024, 1024 * 1024
#: A body up to this size is read in the event loop, which takes a millisecond at worst.
INLINE_BYTES = 8 * 1024
PARSING: web.AppKey[asyncio.Lock] = web.AppKey("parsing", asyncio.Lock)
BODY_SECONDS = 20.0
#: A sender has 60 s, and then must average 50 kB/s: aiohttp never closes a connection that sends slowly.
GRACE_SECONDS, LEAST_RATE = 60.0, 50_000.0
T = TypeVar("T")
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def context_of(request: web.Request) -> Context:
    return request.app[CONTEXT]


def caller_of(request: web.Request) -> ApiKey:
    return request[CALLER]


def bearer_of(request: web.Request) -> str:
    """Returns the API key that a request carries, or ""."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


class Deadline:
    """The time limit of a body; it grows with the bytes that have arrived."""

    def __init__(self) -> None:
        self._begun = asyncio.get_running_loop().time()

    async def wait(self, reading: Awaitable[T], received: int) -> T:
        limit = GRACE_SECONDS + received / LEAST_RATE
        try:
            async with asyncio.timeout_at(self._begun + limit):
                return await reading
        except TimeoutError:
            raise TooSlow(seconds=int(limit)) from None


async def json_object(request: web.Request, limit: int = SMALL_BYTES, marks: int = strict_json.MARKS) -> dict[str, Any]:
    """Returns the body, of `limit` bytes at most, as a JSON object.

    Raises InvalidBody, WrongMediaType, TooLarge or TooSlow.
    """
    refuse_encoding(request)
    if request.content_type not in ("application/json", "application/octet-stream", "text/plain"):
        raise WrongMediaType(why=f"Send Content-Type: application/json, not {request.content_type}.")
    content = await body(request, limit)
    if len(content) <= INLINE_BYTES:
        return strict_json.parse_object(content, marks)
    async with request.app[PARSING]:  # one at a time: each thread that computes takes 5 ms of the event loop in turn
        return await asyncio.to_thread(strict_json.parse_object, content, marks)


async def optional_json_object(request: web.Request) -> dict[str, Any]:
    """Like `json_object`, for requests that may come without a body."""
    return await json_object(request) if request.can_read_body else {}


async def body(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise TooLarge(limit=limit)
    try:
        if request.content.is_eof():  # it came with the head, and needs no timer
            content = request.content.read_nowait(limit + 1)
        else:
            async with asyncio.timeout(BODY_SECONDS):
                content = await request.content.read(limit + 1)
                while len(content) <= limit and not request.content.at_eof():
                    content += await request.content.read(limit + 1 - len(content))
    except TimeoutError:
        raise TooSlow(seconds=int(BODY_SECONDS)) from None
    except (web.RequestPayloadError, ValueError) as error:
        raise InvalidBody(why="it was cut off, or its chunks are malformed") from error
    if len(content) > limit:
        raise TooLarge(limit=limit)
    return content


def accepts(request: web.Request, kind: str) -> bool:
    """Whether the client names the media type: `*/*` is what every SDK sends."""
    named = request.headers.get("accept", "").split(",")
    return any(part.partition(";")[0].strip().lower() == kind for part in named)


def is_sdk_retry(request: web.Request) -> bool:
    """Whether an OpenAI SDK retries a call by itself."""
    return request.headers.get("x-stainless-retry-count", "0") not in ("", "0")


def refuse_encoding(request: web.Request) -> None:
    """Raises WrongMediaType for a compressed body: its size is counted packed, so it could fill the disk."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise WrongMediaType(why="Send the body without Content-Encoding.")


#: Headers of which more is made than a comparison. Others may hold any bytes.
_READ = ("Authorization", "Idempotency-Key", "Last-Event-ID", "webhook-id", "webhook-timestamp", "webhook-signature")


def refuse_odd_bytes(request: web.Request) -> None:
    """Raises InvalidParameter for a URL, or a header that is read, whose bytes are not UTF-8: Redis takes no others."""
    for name, text in (("URL", request.path_qs), *((name, request.headers.get(name, "")) for name in _READ)):
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise InvalidParameter(param=name, why="it is not UTF-8")


def known_members(body: Mapping[str, Any], *names: str, where: str = "") -> None:
    """Raises UnknownParameter for a member that is not among `names`."""
    for name in body:
        if name not in names:
            raise UnknownParameter(param=f"{where}{name}"[:80], hint=did_you_mean(name, names))


def required(body: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """Returns a member. Raises MissingParameter, or InvalidParameter if it is of another type."""
    value = body.get(name)
    if value is None:
        raise MissingParameter(param=name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidParameter(param=name, why=f"it must be {_WORDS[kind]}")
    return value


def optional(body: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """Returns a member, None if it was left out. Raises InvalidParameter if it is null or of another type."""
    if name in body and body[name] is None:
        raise InvalidParameter(param=name, why=f"it must be {_WORDS[kind]}, or left out")
    return required(body, name, kind) if name in body else None


_WORDS: Mapping[type, str] = {
    str: "a string", int: "a whole number", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


@contextmanager
def cursor() -> Iterator[None]:
    """Turns NotFound for an unknown `after` into InvalidParameter: the list itself exists."""
    try:
        yield
    except NotFound as missing:
        raise InvalidParameter(param="after", why=f"it must be an id of this list ({missing.message})") from missing


def integer(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not low <= int(text) <= high:
        raise InvalidParameter(param=name, why=f"it must be a whole number from {low} to {high}, not {text[:40]!r}")
    return int(text)


def choice(request: web.Request, name: str, default: str, choices: tuple[str, ...]) -> str:
    text = request.query.get(name, default)
    if text not in choices:
        raise InvalidParameter(param=name, why=f"it must be {' or '.join(choices)}, not {text[:40]!r}")
    return text


def known_only(request: web.Request, *names: str, metadata: bool = False) -> None:
    """Raises UnknownParameter: a misspelt filter would silently give a wrong list."""
    for name in request.query:
        if name not in names and not (metadata and (name == "metadata" or _METADATA.fullmatch(name))):
            raise UnknownParameter(
                param=name[:80], hint=did_you_mean(name, [*names, "metadata[...]"] if metadata else names)
            )


def metadata_filter(request: web.Request) -> dict[str, str]:
    """Returns the pairs of `metadata[k]=v`, which must all match; `metadata=null` or empty: only jobs without any."""
    pairs: dict[str, str] = {}
    for name, value in request.query.items():
        if name == "metadata":
            if value not in ("", "null"):
                raise InvalidParameter(param="metadata", why="write metadata[key]=value, or metadata=null")
            pairs[""] = ""
        elif match := _METADATA.fullmatch(name):
            if not match[1]:
                raise InvalidParameter(param="metadata", why="a key must not be empty: write metadata[key]=value")
            pairs[match[1]] = value
    return pairs
