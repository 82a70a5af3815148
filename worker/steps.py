"""The functions that RQ calls. Each does one step in a context; safe to run twice or never.

RQ runs coroutine functions by `asyncio.run`, one loop a step, so nothing async outlives a step. Imports and the TLS
context, which are expensive, were made before the fork.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from contextlib import asynccontextmanager
from functools import cache

from tunehook import settings
from tunehook.context import Context, open_context
from tunehook.errors import StoreUnavailable
from tunehook.files import Files, ingest
from tunehook.jobs import copy_step, cost, dataset_fetch, deploying, lifecycle, model_ready, poller
from tunehook.maintenance import retention, sweeps
from tunehook.model.member import Queue
from tunehook.webhooks import dispatch

log = logging.getLogger(__name__)

#: The signal by which a worker stops its work-horse. Other steps ignore it: they are short, or save their progress.
STOP = signal.SIGUSR1


@cache
def loaded_settings() -> settings.Settings:
    """Reads the settings once a process (10 ms): a work-horse inherits those of its parent."""
    return settings.load()


@asynccontextmanager
async def _ctx() -> AsyncIterator[Context]:
    """Opens the context. A step that loses Redis ends; its record is due again within 20 s."""
    async with open_context(loaded_settings(), make_files=Files.of_step) as ctx:
        try:
            yield ctx
        except StoreUnavailable as error:
            log.debug("Redis does not answer: the step is retried within 20 s: %s", error.__cause__ or error)


async def job(job_id: str) -> None:
    async with _ctx() as ctx:
        await lifecycle.advance(ctx, job_id)


async def jobs(*job_ids: str) -> None:
    """Runs the steps of several jobs at once: a fork, a context and connections for each cost more than the step."""
    async with _ctx() as ctx:
        await lifecycle.advance_all(ctx, job_ids)


async def look_at(upstream: str) -> None:
    async with _ctx() as ctx:
        await poller.poll(ctx, upstream)


async def copy(upstream: str, sha256: str) -> None:
    async with _ctx() as ctx:
        await copy_step.copy_to_upstream(ctx, upstream, sha256)


async def check(file_id: str) -> None:
    async with _ctx() as ctx:
        await ingest.check_stored(ctx.files, file_id)


async def estimate(job_id: str) -> None:
    async with _ctx() as ctx:
        await cost.estimate_accepted(ctx, job_id)


async def dataset(job_id: str) -> None:
    async with _ctx() as ctx:
        await dataset_fetch.fetch(ctx, job_id)


async def ready(job_id: str) -> None:
    async with _ctx() as ctx:
        await model_ready.ask_until_ready(ctx, job_id)


async def deployment(job_id: str) -> None:
    async with _ctx() as ctx:
        await deploying.advance(ctx, job_id)


async def sweep(what: str) -> None:
    async with _ctx() as ctx:
        await (retention.sweep(ctx) if what == "retention" else sweeps.sweep(ctx, what))


async def deliver() -> None:
    """Sends due deliveries. Ends within an attempt's 15 s when its worker stops (supervisor.py, STOP)."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(STOP, stop.set)
    try:
        async with _ctx() as ctx:
            await dispatch.dispatch(ctx.webhooks, stop)
    finally:  # a closed loop leaves the default action, which would end a work-horse that has only to report
        loop.remove_signal_handler(STOP)
        signal.signal(STOP, signal.SIG_IGN)


#: The step of each kind of member. RQ's messages name them, so a name stays.
_STEPS: dict[str, Callable[..., Awaitable[None]]] = {
    "job": job,
    "look": look_at,
    "check": check,
    "estimate": estimate,
    "ready": ready,
    "deployment": deployment,
    "dataset": dataset,
    "sweep": sweep,
    "copy": copy,
}
_NAMES = {step.__name__ for step in (*_STEPS.values(), jobs, deliver)}
#: Kind → so many members of it share a step. A member that was claimed before without a commit has one of its own:
#: if it kills its process, or takes its time, it does so to the others once.
TOGETHER = {"job": 8}


def step_for(member: str) -> tuple[str, tuple[str, ...]]:
    """Returns the dotted path and the arguments of the step for a due member (`<kind>:<id>`)."""
    kind, _, rest = member.partition(":")
    if kind not in _STEPS:
        raise ValueError(f"no step is known for the member {member!r}")
    return f"worker.steps.{_STEPS[kind].__name__}", tuple(rest.rsplit(":", 1) if kind == "copy" else [rest])


def steps_for(members: Sequence[str], first: Container[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the steps of members that were claimed; `first`: those among them that may share a step."""
    shared = [member for member in members if member.startswith("job:") and member in first]
    found = [step_for(member) for member in members if member not in shared]
    for at in range(0, len(shared), TOGETHER["job"]):
        several = shared[at : at + TOGETHER["job"]]
        ids = tuple(member.partition(":")[2] for member in several)
        found.append(step_for(several[0]) if len(several) == 1 else (f"worker.steps.{jobs.__name__}", ids))
    return found


def is_step(path: str) -> bool:
    """Returns whether a dotted path is a step of this version."""
    return path.startswith("worker.steps.") and path.rpartition(".")[2] in _NAMES


#: RQ ends a step that takes longer. A whole file up to 100 MB has 600 s, and so has the joining of parts. A delivery
#: step runs for up to 40 s, and twice one attempt's 15 s after that.
TIMEOUTS: dict[Queue, int] = {"steps": 60, "polls": 60, "bulk": 900, "deliver": 90}
