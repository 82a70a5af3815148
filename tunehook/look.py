"""One look for all: what an upstream says of every job of ours that lives there.

Jobs are not polled one by one: the list is read newest first, 100 a page, until all live ones are seen, and
only what has changed since the last look is read from the store and written. 10,000 jobs are 100 requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping

from tunehook import creating, events, lifecycle, upload
from tunehook.errors import (
    Conflict,
    JobNotFound,
    LeaseLost,
    LeaseTaken,
    RecordUnreadable,
    UpstreamError,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.model import Job, Stage, UpstreamJob
from tunehook.store.lease import Lease
from tunehook.upstream import Upstream, mark_of
from tunehook.world import World

log = logging.getLogger(__name__)

#: How often events of a job are fetched that nobody follows and nothing happens to, and of how many a look.
LOG_SECONDS = 180.0
LOGS_A_LOOK = 50
FOLLOWED_A_LOOK = 200
#: How often extras of a create with unknown outcome are looked for, and of how many jobs a look.
EXTRAS_SECONDS = 300.0
EXTRAS_A_LOOK = 20
#: A look reads pages for so long; RQ ends a step after 60 s.
SEE_SECONDS = 35.0

Live = Mapping[str, tuple[str, str]]


async def look(world: World, upstream_name: str, *, seconds: float = SEE_SECONDS) -> None:
    """One step: one look. Plans the next at its end, whatever came of it; a look that dies is claimed again.

    `seconds`: for so long the upstream is asked for jobs.
    """
    member = f"look:{upstream_name}"
    upstream = world.upstreams.get(upstream_name)
    if upstream is None:
        await world.store.unplan(member)
        return
    try:
        async with world.store.lease(member) as lease:
            try:
                await _look(world, upstream, lease, seconds)
            finally:
                await world.store.plan(member, world.poll_seconds)
    except (LeaseTaken, LeaseLost):
        return
    except (UpstreamUnauthorized, UpstreamUnreachable) as error:
        await upload.hold(world, error)
    except UpstreamError as error:
        log.warning("looking at %s: %s", upstream_name, error.message)


async def _look(world: World, upstream: Upstream, lease: Lease, seconds: float) -> None:
    live = await world.store.upstreams.live(upstream.name)
    doubtful = await world.store.upstreams.doubtful(upstream.name)
    if not live and not doubtful:
        return
    changed: list[Job] = []
    until = time.monotonic() + seconds
    # What a page says is written before the next is read: a look that is cut short has done what it saw.
    async for seen in see(world, upstream, live, whole_page=bool(doubtful), lease=lease, until=until):
        for upstream_job in seen:
            if upstream_job.id not in live:
                await _stranger(world, upstream, upstream_job, doubtful, lease)
                continue
            job_id, fingerprint = live[upstream_job.id]
            if upstream_job.fingerprint != fingerprint:
                job = await _news(world, job_id, upstream_job)
                if job is not None:
                    changed.append(job)
    await _read_logs(world, upstream.name, live, changed)
    await _find_extras(world, upstream, doubtful, lease, until)


async def see(
    world: World, upstream: Upstream, live: Live, *, whole_page: bool, lease: Lease, until: float
) -> AsyncIterator[list[UpstreamJob]]:
    """Every live job as the upstream has it now, and whatever stood on the same pages, page by page.

    Singly where that is fewer requests: after k pages, when k or fewer are missing, they are old ones that
    could lie any number of pages further down. When the time of a look is over, the next goes on from there,
    with what this one has not seen.
    """
    after, unseen = await world.store.upstreams.look_from(upstream.name)
    missing = set(live) if unseen is None else set(live) & unseen
    pages, more = 0, unseen is None or after is not None
    while more and (len(missing) > pages + (0 if pages or whole_page else 1) or (whole_page and pages == 0)):
        if time.monotonic() > until:
            await world.store.upstreams.look_on(upstream.name, after, missing)
            return
        lease.check()
        page, more = await upstream.page(after)
        pages += 1
        missing.difference_update(upstream_job.id for upstream_job in page)
        yield page
        after = page[-1].id if page else None
        more = more and bool(page)
    for upstream_id in sorted(missing):
        if time.monotonic() > until:
            await world.store.upstreams.look_on(upstream.name, None, missing)
            return
        lease.check()
        missing.discard(upstream_id)
        try:
            yield [await upstream.retrieve(upstream_id)]
        except (UpstreamUnauthorized, UpstreamUnreachable):
            raise
        except UpstreamError as error:
            # Not an end: a list that lags, or a key of another organisation, says "no such job" too.
            log.warning("upstream %s does not show job %s: %s", upstream.name, upstream_id, error.message)


async def _news(world: World, job_id: str, news: UpstreamJob) -> Job | None:
    """Writes what has changed. Somebody who was faster is read by the next look."""
    try:
        record = await world.store.jobs.read(job_id)
        if record.job.stage is not Stage.TRACKED:
            return None
        await lifecycle.observe(world, record, news)
    except JobNotFound:
        return None
    except (Conflict, RecordUnreadable) as error:
        log.info("job %s: %s", job_id, error.message)
        return None
    return record.job


async def _find_extras(world: World, upstream: Upstream, doubtful: list[str], lease: Lease, until: float) -> None:
    """Looks by mark for what a create of unknown outcome may have made, wherever in the list it stands: each
    doubtful job every few minutes, for a day. One that cannot be looked for holds up no other."""
    due = await world.store.upstreams.extras_to_find(
        upstream.name, doubtful, older_than=EXTRAS_SECONDS, limit=EXTRAS_A_LOOK
    )
    for record in await world.store.jobs.read_many(due):
        job = record.job
        if time.monotonic() > until:
            return  # the others' turn comes again in some minutes
        lease.check()
        since = (job.doubtful_since or job.created_at) - creating.SKEW_SECONDS
        try:
            found = await upstream.find(job.spec, training="", tag=world.tag(job), since=since)
        except (UpstreamUnauthorized, UpstreamUnreachable):
            raise
        except UpstreamError as error:
            log.warning("looking for extras of job %s at %s: %s", job.id, upstream.name, error.message)
            continue
        for upstream_job in found:
            await _stranger(world, upstream, upstream_job, doubtful, lease)


async def _stranger(
    world: World, upstream: Upstream, upstream_job: UpstreamJob, doubtful: list[str], lease: Lease
) -> None:
    """A job there that is not among the live: somebody else's, a settled one of ours, or an extra."""
    deployment, job_id = mark_of(upstream_job)
    if not job_id or (upstream_job.ended and job_id not in doubtful):
        return
    try:
        record = await world.store.jobs.read(job_id)
    except (JobNotFound, Conflict, RecordUnreadable):
        return
    job = record.job
    if (
        job.upstream != upstream.name
        or upstream_job.id == job.upstream_job_id
        or world.tag(job) != f"{deployment}/{job_id}"
    ):
        return
    if job.upstream_job_id or job.stage is Stage.SETTLED:
        lease.check()
        await creating.cancel_extra(world, job, upstream_job)
    elif record.intent_ms is not None or job.doubtful_since:
        await world.store.wake(record.member)  # its step is looking for just this one


async def _read_logs(world: World, upstream: str, live: Live, changed: list[Job]) -> None:
    """Events: of jobs with news, of those that somebody follows, and of the others in turn."""
    ours = [job_id for job_id, _ in live.values()]
    followed = await world.store.jobs.followed()
    wanted = set(sorted(job_id for job_id in ours if job_id in followed)[:FOLLOWED_A_LOOK])
    others = [job_id for job_id in ours if job_id not in wanted]
    in_turn = await world.store.upstreams.logs_to_read(upstream, others, older_than=LOG_SECONDS, limit=LOGS_A_LOOK)
    ids = (wanted | set(in_turn)) - {job.id for job in changed}
    records = await world.store.jobs.read_many(sorted(ids))
    for error in await events.fetch_for(world, [*changed, *(record.job for record in records)]):
        log.warning("events from %s: %s", upstream, error.message)
