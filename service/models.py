"""/v1/models: models that can be tuned, and models that were tuned here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from service.requests import caller_of, context_of, cursor, integer, known_only
from tunehook.context import Context
from tunehook.errors import ModelNotDeletable, ModelNotFound
from tunehook.jobs import model_deletion
from tunehook.model.job import TunedModel
from tunehook.openai_format import models
from tunehook.openai_format.lists import list_object, page_object
from tunehook.upstreams.catalog import Catalog

#: Of a page, and what a client gets that asks for none: 30 ms of this process.
PAGE = 1000
CATALOG: web.AppKey[Catalog] = web.AppKey("lists", Catalog)


async def offered(request: web.Request) -> dict[str, dict[str, Any]]:
    """Returns the base models that can be tuned, by name."""
    ctx = context_of(request)
    lists = await request.app[CATALOG].all(ctx.upstreams)
    return models.base_models((row for rows in lists.values() for row in rows), ctx.prices)


async def list_(request: web.Request) -> web.Response:
    """Answers with the base models, then the tuned ones, newest first. SDKs send no parameters, and read one page."""
    known_only(request, "after", "limit")
    limit = integer(request, "limit", PAGE, 1, PAGE)
    ctx, owner, after = context_of(request), caller_of(request).project, request.query.get("after")
    lists = await request.app[CATALOG].all(ctx.upstreams)
    found = await offered(request)
    base = list(found.values())
    if after in found:
        base, after = base[list(found).index(after) + 1 :], None
    elif after is not None:
        base = []
    with cursor():
        made, more = await ctx.store.models.page(owner, after=after, limit=max(0, limit - len(base)))
    days = {upstream: models.shutdown_dates(rows) for upstream, rows in lists.items()}
    tuned = await _shown(ctx, made, days, owner)
    rows, more = [*base[:limit], *tuned], more or len(base) > limit
    # OpenAI's list of models has no pages: who asks for none and gets all sees its members alone.
    return web.json_response(page_object(rows, has_more=more) if more or request.query else list_object(rows))


async def retrieve(request: web.Request) -> web.Response:
    """Looks among the tuned models first: no base model has such a name."""
    ctx, name = context_of(request), request.match_info["model"]
    lists = await request.app[CATALOG].all(ctx.upstreams)
    owner = caller_of(request).project
    made = await ctx.store.models.find(name, owner)
    if made is not None:
        made = made.model_copy(update={"name": name})  # a checkpoint has a name of its own
        days = {made.upstream: models.shutdown_dates(lists.get(made.upstream, []))}
        [shown] = await _shown(ctx, [made], days, owner)
        return web.json_response(shown)
    found = await offered(request)
    if name not in found:
        raise ModelNotFound(id=name[:200], param="model")
    return web.json_response(found[name])


async def delete(request: web.Request) -> web.Response:
    """Deletes a tuned model at its upstream and here."""
    ctx, name = context_of(request), request.match_info["model"]
    try:
        await model_deletion.delete(ctx, caller_of(request).project, name)
    except ModelNotFound:
        if name not in await offered(request):
            raise
        why = "it is a base model of the upstream"
        raise ModelNotDeletable(model=name[:200], why=why, param="model") from None
    return web.json_response({"id": name, "object": "model", "deleted": True})


async def _shown(
    ctx: Context, made: list[TunedModel], days: Mapping[str, Mapping[str, str]], owner: str
) -> list[dict[str, Any]]:
    """Returns tuned models, with the state of those that must be deployed."""
    needing = [
        model.job_id for model in made if model.upstream in ctx.upstreams and ctx.upstreams[model.upstream].deploys
    ]
    deployments = await ctx.store.deployments.of_jobs(needing) if needing else {}
    return [
        models.tuned_model(
            model,
            days.get(model.upstream, {}),
            owner,
            what_to_do=ctx.rules(model.upstream).deployment,
            deployment=deployments.get(model.job_id),
        )
        for model in made
    ]
