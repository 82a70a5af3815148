"""Hold: sends nothing to an upstream for a while when it refuses our key or cannot be reached."""

from __future__ import annotations

import logging

from tunehook.context import Context
from tunehook.errors import UpstreamError, UpstreamUnauthorized, UpstreamUnreachable
from tunehook.model.job import Stage
from tunehook.webhooks import event_types, publishing

log = logging.getLogger(__name__)

#: Refusals that follow each other within this time are published once.
SPELL_SECONDS = 15 * 60
#: For how long an upstream is held that refuses our key, or cannot be reached.
HOLD_SECONDS = {UpstreamUnauthorized: 60.0, UpstreamUnreachable: 15.0}


async def _publish_refusal(ctx: Context, error: UpstreamError, code: str) -> None:
    """Publishes that an upstream refuses our key, once per series of refusals."""
    upstream, now = error.upstream, await ctx.store.now_ms() // 1000
    change = await ctx.store.announcements.once(f"refused:{upstream}", code, keep=SPELL_SECONDS)
    if change is None:
        await ctx.store.announcements.keep(f"refused:{upstream}", SPELL_SECONDS)
        return
    jobs = await _waiting_jobs(ctx, upstream)
    about = {"upstream": upstream, "code": code, "message": error.message, "waiting_jobs": jobs}
    operators = ctx.webhooks.operators
    await publishing.publish_to_project(ctx.webhooks, change, operators, event_types.UPSTREAM_REFUSED, about, now=now)
    await ctx.store.announcements.commit(change)


async def _waiting_jobs(ctx: Context, upstream: str) -> int:
    """Counts the jobs that are not at the upstream yet, among the next 2,000 that are due."""
    records = await ctx.store.jobs.read_many(await ctx.store.unsettled(2000))
    unplaced = (Stage.TRACKED, Stage.SETTLED)
    return sum(record.job.upstream == upstream and record.job.stage not in unplaced for record in records)


async def hold(ctx: Context, error: UpstreamError) -> float:
    """Holds an upstream; no job fails for it. Returns for how many seconds."""
    seconds = HOLD_SECONDS[type(error)]
    refused = isinstance(error, UpstreamUnauthorized)
    error.code = error.code or ("upstream_unauthorized" if refused else "upstream_unreachable")
    log.warning("upstream %s on hold for %d s: %s", error.upstream, seconds, error.message)
    await ctx.store.upstreams.hold(error.upstream, error.code, error.message, seconds)
    if refused:
        await _publish_refusal(ctx, error, error.code)
    return seconds
