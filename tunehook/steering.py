"""Pause and resume: passed to the upstream for jobs that it has; anything else is told why not."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from tunehook import lifecycle, wire
from tunehook.errors import Conflict, JobNotSteered, UpstreamRefused
from tunehook.model import Stage
from tunehook.store.jobs import JobRecord
from tunehook.world import World

Verb = Literal["pause", "resume"]
_DONE: dict[Verb, str] = {"pause": "paused", "resume": "resumed"}


async def steer(world: World, job_id: str, project: str, verb: Verb) -> JobRecord:
    """The job as the upstream shows it afterwards. Raises JobNotSteered, and the upstream's other errors."""
    record = await world.store.jobs.read(job_id, project)
    job = record.job
    what = _DONE[verb]
    if job.stage is Stage.SETTLED:
        raise JobNotSteered(id=job_id, what=what, why=f"it has already {job.status}")
    upstream = world.upstreams.get(job.upstream)
    if job.stage is not Stage.TRACKED or not job.upstream_job_id or upstream is None:
        why = f"the upstream does not have it yet (its stage is {job.stage.value}); cancel it, or wait"
        raise JobNotSteered(id=job_id, what=what, why=why)
    call = upstream.pause if verb == "pause" else upstream.resume
    try:
        seen = await call(job.upstream_job_id)
    except UpstreamRefused as refused:
        raise JobNotSteered(id=job_id, what=what, why=wire.own_ids(refused.message, job)) from refused
    with suppress(Conflict):  # a look was faster; what it saw later counts
        await lifecycle.observe(world, record, seen)
    return await world.store.jobs.read(job_id, project)
