"""HTTP in and out, the same for every route: strict JSON, strict query, OpenAI's errors and lists."""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web

from simulator.clock import Clock
from simulator.problems import Problem, bad
from simulator.settings import Config
from simulator.world import World

CONFIG = web.AppKey("config", Config)
CLOCK = web.AppKey("clock", Clock)
OPENAI = web.AppKey("openai", World)
AZURE = web.AppKey("azure", World)
# What a request was sent, for the journal.
BODY = web.RequestKey("body", bytes)

Thing = TypeVar("Thing")


def is_azure(request: web.Request) -> bool:
    return request.path.startswith("/openai/v1/")


def world(request: web.Request) -> World:
    return request.app[AZURE] if is_azure(request) else request.app[OPENAI]


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
