"""Poller: one poll of an upstream sees every live job there.

The upstream's list is read newest first, 100 jobs a page, until all live ones are seen; 10,000 jobs are 100 requests.
Only jobs that changed since the last poll are read from the store and written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping

from tunehook import telemetry
from tunehook.context import Context
from tunehook.errors import (
    Conflict,
    JobNotFound,
    RecordUnreadable,
    UpstreamError,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.jobs import event_log, tracking, upstream_hold
from tunehook.jobs.unknown_outcome import check_unlisted, find_extras
from tunehook.model.job import Job, Stage, UpstreamJob
from tunehook.model.member import poll_member
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_recurring_step
from tunehook.upstreams.protocol import Upstream

log = logging.getLogger(__name__)

#: How often a quiet job's events are fetched that no client follows; how many followed and other jobs in a poll.
LOG_SECONDS = 180.0
LOGS_A_POLL = (200, 50)
#: How long a poll reads pages; RQ ends a step after 60 s.
READ_SECONDS = 35.0
#: So many jobs are written at once: a commit waits for Redis' disk, and a hundred may end in one poll.
WRITES_AT_ONCE = 16
Live = Mapping[str, tuple[str, str]]


async def poll(
    ctx: Context, upstream_name: str, *, seconds: float = READ_SECONDS, logs: tuple[int, int] = LOGS_A_POLL
) -> None:
    """Runs one step: polls an upstream and plans the next poll, whatever came of this one.

    A poll that is killed is claimed again. `seconds`: how long the upstream is asked for jobs. `logs`: how
    many quiet jobs' events are fetched, of those that a client follows and of the others.
    """
    member = poll_member(upstream_name)
    upstream = ctx.upstreams.get(upstream_name)
    if upstream is None:
        await ctx.store.unplan(member)
        return

    async def _body(lease: Lease) -> None:
        try:
            await _poll(ctx, upstream, lease, seconds, logs)
        except (UpstreamUnauthorized, UpstreamUnreachable) as error:
            await upstream_hold.hold(ctx, error)
        except UpstreamError as error:
            log.warning("polling %s failed: %s", upstream_name, error.message)
        finally:
            await ctx.store.plan(member, ctx.poll_seconds)

    await run_recurring_step(ctx.store, member, _body)


async def _poll(ctx: Context, upstream: Upstream, lease: Lease, seconds: float, logs: tuple[int, int]) -> None:
    live = await ctx.store.upstreams.live(upstream.name)
    watched = await ctx.store.upstreams.watched_for_extras(upstream.name)
    if not live and not watched:
        return
    changed: list[Job] = []
    until = time.monotonic() + seconds
    with telemetry.span("poll"):  # of all jobs, so a trace of its own, with a link for each job that has changed
        telemetry.describe(upstream=upstream.name, jobs=len(live))
        # Each page is written before the next is read, so a poll that is cut short keeps what it saw.
        async for seen in read_pages(ctx, upstream, live, whole_page=bool(watched), lease=lease, until=until):
            changed += await _observe_all(ctx, live, seen)
            for upstream_job in seen:
                if upstream_job.id not in live:
                    await check_unlisted(ctx, upstream, upstream_job, watched, lease)
        await _fetch_logs(ctx, upstream.name, live, changed, logs)
        await find_extras(ctx, upstream, watched, lease, until)


async def read_pages(
    ctx: Context, upstream: Upstream, live: Live, *, whole_page: bool, lease: Lease, until: float
) -> AsyncIterator[list[UpstreamJob]]:
    """Yields what has changed of the upstream's jobs page by page until every live job was seen.

    After k pages, k or fewer missing jobs are retrieved one by one: they are old, and could be any number of pages
    further down. A poll that runs out of time (`until`, monotonic) is continued by the next from where it stopped.
    `whole_page`: read one page at least.
    """
    after, unseen = await ctx.store.upstreams.stopped_poll(upstream.name)
    known = {upstream_id: fingerprint for upstream_id, (_, fingerprint) in live.items()}
    missing = set(live) if unseen is None else set(live) & unseen
    pages, more = 0, unseen is None or after is not None
    while more and (len(missing) > pages + (0 if pages or whole_page else 1) or (whole_page and pages == 0)):
        if time.monotonic() > until:
            await ctx.store.upstreams.stop_poll(upstream.name, after, missing)
            return
        lease.check()
        page = await upstream.news(after, known)
        pages += 1
        # A list may not tell why a job failed: such a job counts as missing, so that it is retrieved.
        told = [upstream_job for upstream_job in page.changed if upstream_job.status != "failed" or upstream_job.error]
        missing.difference_update(page.unchanged)
        missing.difference_update(upstream_job.id for upstream_job in told)
        yield told
        after, more = page.after, page.after is not None
    for upstream_id in sorted(missing):
        if time.monotonic() > until:
            await ctx.store.upstreams.stop_poll(upstream.name, None, missing)
            return
        lease.check()
        missing.discard(upstream_id)
        try:
            yield [await upstream.retrieve(upstream_id)]
        except (UpstreamUnauthorized, UpstreamUnreachable):
            raise
        except UpstreamError as error:
            # This does not end the job: a list that lags, or a key of another organisation, answers 404 as well.
            log.warning("upstream %s does not show job %s: %s", upstream.name, upstream_id, error.message)


async def _observe_all(ctx: Context, live: Live, seen: list[UpstreamJob]) -> list[Job]:
    """Writes what has changed on a page, several jobs at a time; returns the jobs as they were.

    One after the other are written what is seen of one job, and jobs with the same model: a name belongs to the first.
    """
    chains: dict[str, list[tuple[str, UpstreamJob]]] = {}
    for news in seen:
        job_id, fingerprint = live.get(news.id, ("", news.fingerprint))
        if news.fingerprint != fingerprint:
            model = news.fine_tuned_model or job_id
            chain = chains.get(job_id) or chains.get(model) or []
            chain.append((job_id, news))
            chains |= {job_id: chain, model: chain}
    gate = asyncio.Semaphore(WRITES_AT_ONCE)

    async def _in_order(chain: list[tuple[str, UpstreamJob]]) -> list[Job | None]:
        async with gate:
            return [await _observe(ctx, job_id, news) for job_id, news in chain]

    each_once = {id(chain): chain for chain in chains.values()}.values()
    written = await asyncio.gather(*(_in_order(chain) for chain in each_once))
    return [job for jobs in written for job in jobs if job is not None]


async def _observe(ctx: Context, job_id: str, news: UpstreamJob) -> Job | None:
    """Writes what has changed. After a conflict, the next poll reads the record again."""
    try:
        record = await ctx.store.jobs.read(job_id)
        if record.job.stage is not Stage.TRACKED:
            return None
        telemetry.link(record.job.traceparent)
        await tracking.observe(ctx, record, news)
    except JobNotFound:
        return None
    except (Conflict, RecordUnreadable) as error:
        log.info("job %s: %s", job_id, error.message)
        return None
    except UpstreamError as error:  # it shows another deployment's mark under this job's id
        log.warning("job %s: %s", job_id, error.message)
        return None
    return record.job


async def _fetch_logs(ctx: Context, upstream: str, live: Live, changed: list[Job], limits: tuple[int, int]) -> None:
    """Fetches events: of changed jobs, of followed ones, and of the others in turn."""
    ours = [job_id for job_id, _ in live.values()]
    followed = await ctx.store.job_log.followed()
    wanted = set(sorted(job_id for job_id in ours if job_id in followed)[: limits[0]])
    others = [job_id for job_id in ours if job_id not in wanted]
    in_turn = await ctx.store.upstreams.logs_to_read(upstream, others, older_than=LOG_SECONDS, limit=limits[1])
    ids = (wanted | set(in_turn)) - {job.id for job in changed}
    records = await ctx.store.jobs.read_many(sorted(ids))
    for error in await event_log.fetch_for(ctx, [*changed, *(record.job for record in records)]):
        log.warning("events of %s cannot be fetched now: %s", upstream, error.message)
