"""/v1/models: models that can be tuned, and models that were tuned here."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from service.requests import caller_of, context_of, known_only
from tunehook.errors import ModelNotFound
from tunehook.openai_format import models
from tunehook.openai_format.lists import list_object
from tunehook.upstreams.catalog import Catalog

log = logging.getLogger("tunehook.api")

CATALOG: web.AppKey[Catalog] = web.AppKey("lists", Catalog)


async def offered(request: web.Request) -> dict[str, dict[str, Any]]:
    """Returns the base models that can be tuned, by name."""
    ctx = context_of(request)
    lists = await request.app[CATALOG].all(ctx.upstreams)
    return models.base_models((row for rows in lists.values() for row in rows), ctx.prices)


async def list_(request: web.Request) -> web.Response:
    known_only(request)
    ctx = context_of(request)
    lists = await request.app[CATALOG].all(ctx.upstreams)
    found = await offered(request)
    owner = caller_of(request).project
    made = await ctx.store.models.of_project(owner)
    data = [*found.values(), *(models.tuned_model(model, lists.get(model.upstream, []), owner) for model in made)]
    return web.json_response(list_object(data))


async def retrieve(request: web.Request) -> web.Response:
    """Looks among the tuned models first: no base model has such a name."""
    ctx, name = context_of(request), request.match_info["model"]
    lists = await request.app[CATALOG].all(ctx.upstreams)
    owner = caller_of(request).project
    made = await ctx.store.models.find(name, owner)
    if made is not None:
        made = made.model_copy(update={"name": name})  # a checkpoint has a name of its own
        return web.json_response(models.tuned_model(made, lists.get(made.upstream, []), owner))
    found = await offered(request)
    if name not in found:
        raise ModelNotFound(id=name[:200], param="model")
    return web.json_response(found[name])
