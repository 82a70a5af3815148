"""The composition: routes, keys, and the sweep that gives unfinished jobs their turn."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
from aiohttp import web
from redis.exceptions import RedisError

from trainer import chat, files, folders, graders, jobs, models
from trainer.app_keys import PROJECT, SERVING, SESSION, STORE, WAKE
from trainer.maintenance import tidy
from trainer.redis_url import reason
from trainer.serving import Serving
from trainer.settings import Config
from trainer.store import Store
from trainer.turns import Turns, give, stop, turns_of
from wire.http import LARGEST_BODY, Handler, bearer, problems, surface
from wire.problems import Problem

_LOG = logging.getLogger(__name__)
#: When what serves is started again, if it does not answer.
_START_SECONDS = 30.0
#: So long after a job's end its process is still stopped.
_STOP_SECONDS = 3600.0
#: Between two tidyings of the data directory.
_TIDY_SECONDS = 600.0


def build_app(config: Config, store: Store) -> web.Application:
    """The whole API. `store` is closed with it."""
    app = web.Application(middlewares=[problems, _keys], client_max_size=LARGEST_BODY)
    app[STORE], app[WAKE], app[SERVING] = store, asyncio.Event(), Serving(config)
    app.add_routes([web.get("/livez", _live, allow_head=False), *surface("/v1", files, jobs, models, chat, graders)])
    app.on_response_prepare.append(_name_answer)
    app.cleanup_ctx.append(_running)
    return app


async def _live(request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok\n")


@web.middleware
async def _keys(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith("/v1/"):
        project = request.app[STORE].config.project_of(bearer(request))
        if project is None:
            raise Problem(401, "Incorrect API key provided.", "invalid_api_key")
        request[PROJECT] = project
    return await handler(request)


async def _name_answer(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["x-request-id"] = f"req_{uuid.uuid4().hex}"


async def _running(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=600)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as app[SESSION]:
        sweeping = asyncio.create_task(_sweeping(app))
        yield
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        await app[SERVING].stop()
    await asyncio.to_thread(app[STORE].close)


async def _sweeping(app: web.Application) -> None:
    store, serving = app[STORE], app[SERVING]
    turns = turns_of(store.config)
    next_start, next_tidy, trouble = 0.0, 0.0, ""
    while True:
        app[WAKE].clear()
        try:
            due = await asyncio.to_thread(_due, store)
            if due and not store.config.serve_while_training:
                await serving.stop()
                next_start = 0.0
            elif serving.url is None and time.monotonic() >= next_start:
                await serving.start()
                next_start = time.monotonic() + _START_SECONDS
            if time.monotonic() >= next_tidy:
                next_tidy = time.monotonic() + _TIDY_SECONDS
                await asyncio.to_thread(tidy, store)
            await asyncio.to_thread(_turn, store, turns, due)
            trouble = ""
        except (RedisError, OSError, ValueError, TypeError) as error:
            if trouble != reason(error):  # once an outage
                trouble = reason(error)
                _LOG.warning("jobs cannot start until this is over: %s", trouble)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(store.config.sweep_seconds):
                await app[WAKE].wait()


def _due(store: Store) -> list[str]:
    """Returns the ids of jobs that train or want to, oldest first."""
    return [job.id for job in list(store.jobs.values()) if store.status(job) in {"queued", "running", "pausing"}]


def _turn(store: Store, turns: Turns, due: list[str]) -> None:
    """Gives a turn to what is due, has no worker, and does not wait for one. Stops what goes on after its end.

    An error of one job keeps no other from its turn: the first is raised at the end. That RQ or Ray is away is raised
    at once.
    """
    wanted: list[tuple[Callable[[Turns, Path], None], Path]] = []
    for job in list(store.jobs.values()):
        ended = store.result(job)
        ago = time.time() - ended.finished_at if ended else 0.0
        if store.config.stop_seconds < ago < _STOP_SECONDS and folders.is_taken(store.folder(job)):
            wanted.append((stop, store.folder(job)))
    if due and folders.free_bytes(store.config.data_dir) >= store.config.min_free_bytes:
        for folder in [store.folder(store.jobs[job_id]) for job_id in due]:
            if not folders.is_taken(folder):
                wanted.append((give, folder))
    errors: list[OSError | ValueError | TypeError] = []
    for act, folder in wanted:
        try:
            act(turns, folder)
        except ConnectionError:
            raise
        except (OSError, ValueError, TypeError) as error:
            errors.append(error)
    if errors:
        raise errors[0]
