"""The routes below /models."""

from aiohttp import web

from simulator import training
from simulator.known_models import base, known
from simulator.places import world
from simulator.world import Job, World
from wire import shapes
from wire.http import check_query, listed, reply
from wire.problems import no_such_model


def _tuned(here: World, name: str, job: Job) -> dict[str, object]:
    ended = here.when(job, training.ends_at(job.spec, job.marks))
    # A tuned model goes with its base.
    down = known().get(job.spec.base_model)
    return shapes.model(name, created=ended, owner=job.spec.organization) | {"shutdown_date": down}


async def list_models(request: web.Request) -> web.StreamResponse:
    check_query(request)
    here = world(request)
    here.settle()
    shown = [base(name) for name in known()]
    shown += [_tuned(here, name, job) for name, job in here.models.items() if here.model(name)]
    return listed(shown)


async def retrieve(request: web.Request) -> web.StreamResponse:
    here, name = world(request), request.match_info["model"]
    if name in known():
        return reply(base(name))
    job = here.model(name)
    if job is None:
        raise no_such_model(name)
    return reply(_tuned(here, name, job))


async def delete(request: web.Request) -> web.StreamResponse:
    here, name = world(request), request.match_info["model"]
    if here.model(name) is None:
        raise no_such_model(name)
    del here.models[name]
    return reply(shapes.deleted(name, "model"))
