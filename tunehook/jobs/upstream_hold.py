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


async def hold_refused(ctx: Context, error: UpstreamUnauthorized, seconds: float) -> None:
    """Holds an upstream that refuses our key, and publishes that once per series of refusals."""
    upstream, now = error.upstream, await ctx.store.now_ms() // 1000
    code = error.code or "upstream_unauthorized"
    await ctx.store.upstreams.hold(upstream, code, error.message, seconds)
    change = await ctx.store.announcements.once(f"refused:{upstream}", code, keep=SPELL_SECONDS)
    if change is None:
        await ctx.store.announcements.keep(f"refused:{upstream}", SPELL_SECONDS)
        return
    about = {
        "upstream": upstream,
        "code": code,
        "message": error.message,
        "waiting_jobs": await _waiting_jobs(ctx, upstream),
    }
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
    code = "upstream_unauthorized" if isinstance(error, UpstreamUnauthorized) else "upstream_unreachable"
    error.code = error.code or code
    log.warning("upstream %s on hold for %d s: %s", error.upstream, seconds, error.message)
    if isinstance(error, UpstreamUnauthorized):
        await hold_refused(ctx, error, seconds)
    else:
        await ctx.store.upstreams.hold(error.upstream, error.code, error.message, seconds)
    return seconds
