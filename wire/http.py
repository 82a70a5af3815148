"""HTTP in and out, the same for every route: strict JSON, strict query, OpenAI's errors and lists."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from wire.problems import Problem, bad

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: The largest JSON that a chat or a job may be; files are streamed and counted by themselves.
LARGEST_BODY = 16 * 2**20
# What a request was sent, for a journal.
BODY = web.RequestKey("body", bytes)

Thing = TypeVar("Thing")


def reply(body: object, *, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


def refusal(problem: Problem) -> web.Response:
    return web.json_response(problem.body(), status=problem.status, headers=dict(problem.headers))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member occurs twice")
    return found


async def read_json(request: web.Request) -> dict[str, object]:
    """The body as an object. Raises Problem 400 for anything else, NaN and repeated members included."""
    if request.content_type != "application/json":
        raise Problem(
            415 if request.body_exists else 400,
            f"The body must be JSON, with Content-Type: application/json (got '{request.content_type}').",
        )
    raw = request[BODY] = await request.read()
    try:
        found = json.loads(raw.decode(), parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise bad(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(found, dict):
        raise bad("The JSON body of your request must be an object.")
    return found


def check_query(request: web.Request, *allowed: str) -> None:
    for name in request.query:
        if name not in allowed:
            raise bad(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def read_limit(request: web.Request, default: int, most: int) -> int:
    written = request.query.get("limit")
    if written is None:
        return default
    if not written.isascii() or not written.isdigit():
        raise bad(f"Invalid 'limit': '{written[:40]}' is not an integer.", param="limit", code="invalid_type")
    if len(written) > 9 or not 1 <= int(written) <= most:
        words = f"Invalid 'limit': expected a value between 1 and {most}, but got {written[:40]}."
        raise bad(words, param="limit", code="invalid_value")
    return int(written)


def page(
    request: web.Request, things: Sequence[Thing], name: Callable[[Thing], str], *, limit: int
) -> tuple[list[Thing], bool]:
    """What comes behind the query's `after`, at most `limit` of it, and whether there is more."""
    start = 0
    after = request.query.get("after")
    if after is not None:
        start = next((index + 1 for index, thing in enumerate(things) if name(thing) == after), -1)
        if start < 0:
            raise bad(f"Invalid 'after': no such object: {after[:80]}.", param="after", code="invalid_value")
    return list(things[start : start + limit]), len(things) > start + limit


def listed(data: Sequence[Mapping[str, object]], *, more: bool | None = None, ends: bool = False) -> web.Response:
    """A list. `ends`: with the ids of the first and the last of `data`."""
    found: dict[str, object] = {"object": "list", "data": data}
    if ends:
        found |= {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return reply(found if more is None else {**found, "has_more": more})


def metadata_filter(request: web.Request) -> tuple[dict[str, str], bool]:
    """The pairs of `metadata[key]=value` that jobs must have, and whether only those without metadata are meant."""
    keys = [name for name in request.query if name.startswith("metadata[") and name.endswith("]")]
    check_query(request, "after", "limit", "metadata", *keys)
    none_wanted = request.query.get("metadata") in {"", "null"}  # Node sends metadata= for null
    if "metadata" in request.query and not none_wanted:
        raise bad("Write the filter as metadata[key]=value, or metadata=null.", param="metadata")
    return {name[len("metadata[") : -1]: request.query[name] for name in keys}, none_wanted


def bearer(request: web.Request) -> str:
    """The API key that a request bears, or an empty text."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals and HTTP errors of any handler, in OpenAI's shape."""
    try:
        return await handler(request)
    except Problem as problem:
        return refusal(problem)
    except HttpProcessingError as error:  # the headers of a multipart's part
        return refusal(Problem(400, f"The request is malformed: {error.message[:200]}"))
    except web.HTTPRequestEntityTooLarge as error:
        return refusal(Problem(413, error.text or "The body is too large."))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        words = f"Invalid URL ({request.method} {request.path})" if error.status in {404, 405} else error.reason
        return refusal(Problem(error.status, words))
