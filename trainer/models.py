"""The routes below /models: the bases of the allow-list, and what was tuned from them."""

from aiohttp import web

from trainer import views
from trainer.app_keys import PROJECT, run
from trainer.store import Store
from trainer.work import device_of
from wire import shapes
from wire.http import check_query, listed, reply
from wire.problems import no_such_model


def _shown(store: Store, project: str) -> dict[str, shapes.Row]:
    """Returns name → model, of those that the project may use."""
    device, data = device_of(store.config.slots.split(";")[0]), store.config.data_dir
    found = {
        alias: base.shown(data, views.seconds_per_million(store, alias, device), device)
        for alias, base in store.bases.items()
    }
    for name, job, _, made in store.models():
        if job.project == project:
            base = store.bases.get(job.model)
            about = {"licence": base.licence, "parameters": base.parameters} if base else {}
            found[name] = shapes.model(name, created=made, owner=store.config.organization) | about
    return found


async def list_models(request: web.Request) -> web.StreamResponse:
    check_query(request)
    return listed(list((await run(request, lambda store: _shown(store, request[PROJECT]))).values()))


async def retrieve(request: web.Request) -> web.StreamResponse:
    name = request.match_info["model"]
    found = (await run(request, lambda store: _shown(store, request[PROJECT]))).get(name)
    if found is None:
        raise no_such_model(name)
    return reply(found)


async def delete(request: web.Request) -> web.StreamResponse:
    name = request.match_info["model"]
    await run(request, lambda store: store.delete_model(name, request[PROJECT]))
    return reply(shapes.deleted(name, "model"))
