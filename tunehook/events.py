"""An upstream's events, copied into our log of the job: each once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tunehook.errors import UpstreamError
from tunehook.model import Job
from tunehook.world import World

#: The newest so many are fetched; a job that is looked at every few minutes does not write more.
USUAL = 100
ALL = 1000
SIDE_BY_SIDE = 8


async def fetch(world: World, job: Job, *, everything: bool = False) -> int:
    """Returns how many were new."""
    if not job.upstream_job_id:
        return 0
    upstream = world.upstreams[job.upstream]
    messages = await upstream.events(job.upstream_job_id, ALL if everything else USUAL)
    return await world.store.jobs.append(job.id, messages)


async def fetch_for(world: World, jobs: Iterable[Job]) -> list[UpstreamError]:
    """For several jobs, a few at a time; what went wrong is returned, since it spoils no look."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def _one(job: Job) -> UpstreamError | None:
        async with gate:
            try:
                await fetch(world, job)
            except UpstreamError as error:
                return error
            return None

    return [error for error in await asyncio.gather(*(_one(job) for job in jobs)) if error]
