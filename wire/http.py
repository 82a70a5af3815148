"""HTTP in and out, the same for every route: strict JSON, strict query, OpenAI's errors and lists."""

import json
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from wire import shapes
from wire.checking import one_of
from wire.problems import Problem, bad

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: The largest JSON that a chat or a job may be; files are streamed and counted by themselves.
LARGEST_BODY = 16 * 2**20
# What a request was sent, for a journal.
BODY = web.RequestKey("body", bytes)

Thing = TypeVar("Thing")
File = TypeVar("File", bound=shapes.File)


reply = web.json_response


def refusal(problem: Problem) -> web.Response:
    return web.json_response(problem.body(), status=problem.status, headers=dict(problem.headers))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member occurs twice")
    return found


async def read_json(request: web.Request) -> dict[str, Any]:
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


def _limit(request: web.Request, default: int, most: int) -> int:
    written = request.query.get("limit", str(default))
    if not written.isascii() or not written.isdigit():
        raise bad(f"Invalid 'limit': '{written[:40]}' is not an integer.", param="limit", code="invalid_type")
    if len(written) > 9 or not 1 <= int(written) <= most:
        words = f"Invalid 'limit': expected a value between 1 and {most}, but got {written[:40]}."
        raise bad(words, param="limit", code="invalid_value")
    return int(written)


def page(
    request: web.Request,
    things: Mapping[str, Thing],
    show: Callable[[Thing], shapes.Row],
    *,
    limit: int,
    most: int = 100,
    ends: bool = False,
) -> web.Response:
    """A list of what comes behind the query's `after`, at most its `limit` of it, by default `limit`.

    `things`: by their ids. `ends`: with the ids of the first and the last."""
    limit, after, names = _limit(request, limit, most), request.query.get("after"), list(things)
    if after is not None:
        if after not in things:
            raise bad(f"Invalid 'after': no such object: {after[:80]}.", param="after", code="invalid_value")
        names = names[names.index(after) + 1 :]
    return listed([show(things[name]) for name in names[:limit]], more=len(names) > limit, ends=ends)


def file_page(request: web.Request, files: Iterable[File], show: Callable[[File], shapes.Row]) -> web.Response:
    """`GET /files`. `files`: oldest first."""
    check_query(request, "purpose", "limit", "order", "after")
    purpose, order = request.query.get("purpose"), request.query.get("order", "desc")
    one_of("asc", "desc")(order, "order")
    found = [file for file in files if purpose in {None, file.purpose}]
    if order == "desc":
        found.reverse()
    return page(request, {file.id: file for file in found}, show, limit=10_000, most=10_000, ends=True)


def listed(data: Sequence[Mapping[str, object]], *, more: bool | None = None, ends: bool = False) -> web.Response:
    found: dict[str, object] = {"object": "list", "data": data}
    if ends:
        found |= {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return reply(found if more is None else {**found, "has_more": more})


def metadata_filter(request: web.Request) -> Callable[[Mapping[str, str]], bool]:
    """Whether `GET /fine_tuning/jobs` asks for a job with this metadata: all of metadata[key]=value, or none at all."""
    keys = [name for name in request.query if name.startswith("metadata[") and name.endswith("]")]
    check_query(request, "after", "limit", "metadata", *keys)
    none_wanted = request.query.get("metadata") in {"", "null"}  # Node sends metadata= for null
    if "metadata" in request.query and not none_wanted:
        raise bad("Write the filter as metadata[key]=value, or metadata=null.", param="metadata")
    wanted = {name[len("metadata[") : -1]: request.query[name] for name in keys}
    return lambda found: wanted.items() <= found.items() and not (none_wanted and found)


def bearer(request: web.Request) -> str:
    """The API key that a request bears, or an empty text."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def surface(
    prefix: str, files: ModuleType, jobs: ModuleType, models: ModuleType, chat: ModuleType, graders: ModuleType
) -> list[web.RouteDef]:
    """OpenAI's routes that both servers have, with the handlers of their modules."""
    get, tuning = partial(web.get, allow_head=False), f"{prefix}/fine_tuning/jobs"
    return [
        web.post(f"{prefix}/files", files.create),
        get(f"{prefix}/files", files.list_files),
        get(f"{prefix}/files/{{id}}", files.retrieve),
        get(f"{prefix}/files/{{id}}/content", files.content),
        web.delete(f"{prefix}/files/{{id}}", files.delete),
        web.post(f"{prefix}/uploads", files.begin_upload),
        web.post(f"{prefix}/uploads/{{id}}/parts", files.add_part),
        web.post(f"{prefix}/uploads/{{id}}/complete", files.complete_upload),
        web.post(f"{prefix}/uploads/{{id}}/cancel", files.cancel_upload),
        web.post(tuning, jobs.create),
        get(tuning, jobs.list_jobs),
        get(f"{tuning}/{{id}}", jobs.retrieve),
        web.post(f"{tuning}/{{id}}/{{action:cancel|pause|resume}}", jobs.act_on),
        get(f"{tuning}/{{id}}/events", jobs.events),
        get(f"{tuning}/{{id}}/checkpoints", jobs.checkpoints),
        get(f"{prefix}/models", models.list_models),
        get(f"{prefix}/models/{{model}}", models.retrieve),
        web.delete(f"{prefix}/models/{{model}}", models.delete),
        web.post(f"{prefix}/chat/completions", chat.complete),
        web.post(f"{prefix}/fine_tuning/alpha/graders/run", graders.run),
        web.post(f"{prefix}/fine_tuning/alpha/graders/validate", graders.validate),
    ]


def serve(app: web.Application, host: str, port: int) -> None:
    """Serves until interrupted; the first line printed is the base URL. Raises OSError where it cannot listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:

        async def say(app: web.Application) -> None:
            sys.stdout.write(f"http://{host}:{listening.getsockname()[1]}/v1\n")
            sys.stdout.flush()

        app.on_startup.append(say)
        web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=1.0)


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
