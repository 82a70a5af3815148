"""POST /chat/completions: passed on to what serves, for models that the trainer knows."""

import asyncio
import json
from pathlib import Path

import aiohttp
from aiohttp import web

from trainer.app_keys import PROJECT, SERVING, SESSION, run
from trainer.store import Store
from wire import sse
from wire.bodies import CHAT
from wire.http import read_json, reply
from wire.problems import Problem, no_such_model

#: Seconds after which a chat may be tried again while nothing serves.
RETRY_AFTER = 30


async def complete(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    CHAT(body, "")
    name = str(body["model"])
    folder = await run(request, lambda store: _folder(store, name, request[PROJECT]))
    serving = request.app[SERVING]
    if serving.url is None:
        raise _stopped("No model answers at the moment: a job trains on its GPU, or no model server runs.")
    prepared = await asyncio.to_thread(serving.prepared, body, folder)
    sent = {**prepared, "model": await serving.served_as(name, folder)}
    try:
        async with request.app[SESSION].post(f"{serving.url}/chat/completions", json=sent) as answer:
            return await _passed(request, answer, name)
    except aiohttp.ClientError as error:
        raise _stopped(f"The model server does not answer ({type(error).__name__}).") from error


def _folder(store: Store, name: str, project: str) -> Path:
    """Returns the folder of a model's weights. Raises Problem 404: what serves would take any path for a name."""
    base = store.bases.get(name)
    if base is not None and base.is_here(store.config.data_dir):
        return base.folder(store.config.data_dir)
    for known, job, folder, _ in store.models():
        if known == name and job.project == project:
            return folder
    raise no_such_model(name)


def _stopped(words: str) -> Problem:
    return Problem(
        503, f"{words} Try again later.", "serving_stopped", None, "server_error", {"Retry-After": str(RETRY_AFTER)}
    )


async def _passed(request: web.Request, answer: aiohttp.ClientResponse, name: str) -> web.StreamResponse:
    """Passes an answer on, under the name that was asked for."""
    if answer.content_type != "text/event-stream":
        try:
            row = json.loads(await answer.read())
        except ValueError:
            row = None
        if not isinstance(row, dict) or answer.status >= 500:
            raise _stopped(f"The model server answered {answer.status}.")
        return reply({**row, "model": name} if answer.status < 400 else row, status=answer.status)
    stream = await sse.begin(request)
    async for line in answer.content:
        await stream.write(_renamed(line, name))
    await stream.write_eof()
    return stream


def _renamed(line: bytes, name: str) -> bytes:
    begin, data = b"data: ", line.strip()
    if not data.startswith(begin + b"{"):
        return line
    row = json.loads(data.removeprefix(begin))
    return begin + json.dumps({**row, "model": name}).encode() + b"\n"
