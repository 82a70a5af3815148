"""What the doctor finds out about the machinery: clocks, steps that fail, deployments that cost money."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tunehook.model.member import QUEUES
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import NEVER_PARKED
from tunehook.store.finding import Finding
from tunehook.store.store import Store

#: A scheduler ticks once a second; after this it is late.
CLOCK_MS = 10_000
RQ_SHOWN = 3
#: Claims in a row of a member that is never parked: kills and restarts make a few.
IN_VAIN = 4


async def examine(store: Store) -> list[Finding]:
    """Returns what is worth knowing of the processes and of deployments that run."""
    return [finding for check in (_clocks, _failed, _in_vain, _deployments) async for finding in check(store)]


async def _clocks(store: Store) -> AsyncIterator[Finding]:
    tick, now = await store.redis.get(keys.CLOCK), await store.now_ms()
    if tick is None or now - int(tick) > CLOCK_MS:
        ago = "ever" if tick is None else f"for {(now - int(tick)) // 1000} s"
        words = f"no scheduler has ticked {ago}: is a worker running?"
        yield Finding("clock", "clock", words, grave=False)
    back = max(await store.redis_health.set_back(), (int(tick or 0) - now) / 1000)
    if back > 1:
        words = f"it was set back by {back:.0f} s within a day; the scheduler moves what is due by as much"
        yield Finding("clock", "Redis' clock", words, grave=False)


async def _failed(store: Store) -> AsyncIterator[Finding]:
    """Finds failed steps, which RQ keeps for a day. They are repeated anyway: their members are still due."""
    for registry in (f"rq:failed:{queue}" for queue in QUEUES):
        if count := await store.redis.zcard(registry):
            shown = await store.redis.zrevrange(registry, 0, RQ_SHOWN - 1)
            names = [await store.redis.hget(f"rq:job:{rq_id}", "description") or rq_id for rq_id in shown]
            more = f" and {count - len(names)} more" if count > len(names) else ""
            words = f"{count} steps failed lately: {', '.join(names)}{more}; the workers' log says why"
            yield Finding("failed steps", registry, words, grave=False)


async def _in_vain(store: Store) -> AsyncIterator[Finding]:
    """Finds members that are never parked and whose steps come to no end, as when they are killed each time."""
    async for member, count in store.redis.hscan_iter(keys.CLAIMS, count=5000):
        if member.partition(":")[0] in NEVER_PARKED and int(count) > IN_VAIN:
            words = f"{int(count) - 1} steps in a row came to no end; the workers' log says why"
            yield Finding("in vain", member, words)


async def _deployments(store: Store) -> AsyncIterator[Finding]:
    """Tells of deployments that an upstream may have: they may be billed by the hour."""
    for deployment in await store.deployments.live():
        known = deployment.price
        price = "its price an hour is not known"
        if known is not None:
            price = f"{known.usd_per_hour:g} USD an hour for one replica (source: {known.source})"
        words = f"{deployment.stage} at {deployment.upstream}; {price}"
        yield Finding("deployment", deployment.model or deployment.id, words, grave=False)
