"""An upstream's events, copied into our log of the job: each once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tunehook import notices
from tunehook.errors import UpstreamError
from tunehook.model import Job, Message
from tunehook.world import World

#: Pages of 100 are read back to what is known; a job with more news than this in one look loses its oldest.
PAGES = 100
SIDE_BY_SIDE = 8


async def fetch(world: World, job: Job) -> int:
    """Reads the job's events, newest first, back to one that is in the log; returns how many were new.

    The page in which the known one stands is taken whole, since events that share a second change places.
    """
    if not job.upstream_job_id:
        return 0
    upstream = world.upstreams[job.upstream]
    found: list[Message] = []
    after: str | None = None
    for _ in range(PAGES):
        page, more = await upstream.events(job.upstream_job_id, after)
        found += page
        if not more or not page or await world.store.jobs.any_known(job.id, page):
            break
        after = page[-1].upstream_event_id
    # Newest first means that within a second, too, the last that came is the first that happened.
    in_order = sorted(reversed(found), key=lambda message: message.created_at)
    new = await world.store.jobs.append(job.id, in_order)
    # OpenAI's words: "Checkpoint created at step 90".
    if new and any("checkpoint" in message.message.lower() for message in in_order):
        await notices.checkpoints(world, job.id)
    return new


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
