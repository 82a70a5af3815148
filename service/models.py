"""/v1/models: what can be tuned, and what was tuned here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from service.reading import caller_of, known_only, world_of
from tunehook import offered
from tunehook.errors import ModelNotFound, UpstreamError
from tunehook.world import World

log = logging.getLogger("tunehook.api")

#: Upstreams' lists change a few times a year; an upstream that does not answer is asked again sooner.
FRESH_SECONDS, FAILED_SECONDS = 300.0, 10.0
#: Whoever asks meanwhile waits as well.
ASK_SECONDS = 6.0

Rows = list[dict[str, Any]]


class Lists:
    """What each upstream lists, asked for when it is first wanted and kept for some minutes."""

    def __init__(self) -> None:
        self._rows: dict[str, Rows] = {}
        self._until: dict[str, float] = {}
        self._asking = asyncio.Lock()

    async def all(self, world: World) -> Mapping[str, Rows]:
        async with self._asking:
            await asyncio.gather(*(self._refresh(world, name) for name in world.upstreams))
        return self._rows

    async def _refresh(self, world: World, name: str) -> None:
        """What an upstream said last stays, if it does not answer now."""
        now = asyncio.get_running_loop().time()
        if now < self._until.get(name, 0.0):
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._rows[name] = await world.upstreams[name].models()
            self._until[name] = now + FRESH_SECONDS
        except (UpstreamError, TimeoutError) as error:
            log.warning("models of %s: %s", name, error or f"no answer within {ASK_SECONDS} s")
            self._rows.setdefault(name, [])
            self._until[name] = now + FAILED_SECONDS


LISTS: web.AppKey[Lists] = web.AppKey("lists", Lists)


async def list_(request: web.Request) -> web.Response:
    known_only(request)
    world = world_of(request)
    lists = await request.app[LISTS].all(world)
    prices = await world.costing.prices()
    found = offered.bases((row for rows in lists.values() for row in rows), prices)
    owner = caller_of(request).project
    made = await world.store.models.of_project(owner)
    data = [*found.values(), *(offered.tuned(model, lists.get(model.upstream, []), owner) for model in made)]
    return web.json_response({"object": "list", "data": data})


async def retrieve(request: web.Request) -> web.Response:
    """Tuned models first: their names are nobody else's."""
    world, name = world_of(request), request.match_info["model"]
    lists = await request.app[LISTS].all(world)
    owner = caller_of(request).project
    made = await world.store.models.find(name, owner)
    if made is not None:
        made = made.model_copy(update={"name": name})  # a checkpoint has a name of its own
        return web.json_response(offered.tuned(made, lists.get(made.upstream, []), owner))
    found = offered.bases((row for rows in lists.values() for row in rows), await world.costing.prices())
    if name not in found:
        raise ModelNotFound(id=name[:200], param="model")
    return web.json_response(found[name])
