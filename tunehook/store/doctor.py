"""The doctor: finds inconsistencies in the whole store and can mend those that are safe to mend.

Each finding is a fault of this program, or of a person who wrote to Redis by hand. Reading is not atomic while
programs run, so a finding counts only when it is found twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from tunehook.errors import RecordTooNew, RecordUnreadable, TunehookError
from tunehook.model.job import Job, Stage
from tunehook.model.member import QUEUES, Queue, delivery_member, job_member, poll_member, queue_of
from tunehook.model.webhook import Delivery
from tunehook.store import upgrade
from tunehook.store.engine import keys
from tunehook.store.store import Store

AGAIN_SECONDS = 1.0
#: A scheduler ticks once a second; after this it is late.
CLOCK_MS = 10_000
RQ_SHOWN = 3
Mend = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Finding:
    """An inconsistency of one member or key. `mend` is None where a person has to decide."""

    kind: str
    subject: str
    words: str
    mend: Mend | None = field(default=None, compare=False)
    grave: bool = True  #: False: worth knowing, but no inconsistency


async def findings(store: Store) -> list[Finding]:
    """Returns what is wrong now and was a second ago."""
    before = set(await _once(store))
    if not before:
        return []
    await asyncio.sleep(AGAIN_SECONDS)
    return [finding for finding in await _once(store) if finding in before]


async def _once(store: Store) -> list[Finding]:
    checkup = _Checkup(store)
    await checkup.jobs()
    await checkup.parked()
    await checkup.live()
    await checkup.copies()
    await checkup.deliveries()
    await checkup.leases()
    await checkup.machinery()
    return checkup.found


class _Checkup:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._redis = store.redis
        self._jobs: dict[str, Job | None] = {}  #: None: it exists and cannot be read
        self.found: list[Finding] = []

    def _say(self, kind: str, subject: str, words: str, mend: Mend | None = None, *, grave: bool = True) -> None:
        self.found.append(Finding(kind, subject, words, mend, grave))

    async def _names(self, pattern: str) -> AsyncIterator[str]:
        async for name in self._redis.scan_iter(match=pattern, count=1000):
            yield str(name)

    async def _due(self, member: str) -> bool:
        return await self._redis.zscore(keys.due(queue_of(member)), member) is not None

    def _wake(self, member: str) -> Mend:
        async def _mend() -> None:
            await self._redis.zrem(keys.PARKED, member)
            await self._store.wake(member)

        return _mend

    async def jobs(self) -> None:
        prefix = keys.job("")
        async for name in self._names(f"{prefix}*"):
            job_id = name.removeprefix(prefix)
            member = job_member(job_id)
            try:
                job = (await self._store.jobs.read(job_id)).job
            except RecordUnreadable as error:
                self._jobs[job_id] = None
                self._say("unreadable", member, error.message)
                continue
            except RecordTooNew as error:
                self._jobs[job_id] = None
                self._say("newer", member, f"{error.message} It waits for a newer worker.", grave=False)
                continue
            except TunehookError:
                continue  # deleted meanwhile
            self._jobs[job_id] = job
            parked = await self._redis.zscore(keys.PARKED, member) is not None
            if job.stage is not Stage.SETTLED and not parked and not await self._due(member):
                self._say("forgotten", member, f"it is {job.stage} and no step is planned", self._wake(member))

    async def parked(self) -> None:
        for member in await self._redis.zrange(keys.PARKED, 0, -1):
            kind, _, job_id = member.partition(":")
            if kind == "job" and job_id not in self._jobs:
                self._say("parked", member, "its record was deleted", partial(self._redis.zrem, keys.PARKED, member))
            elif kind == "job" and self._jobs[job_id] is None:
                self._say("parked", member, "no step can read its record: mend or delete it by hand")
            else:
                self._say("parked", member, "20 steps in a row failed; the workers' log says why", self._wake(member))

    async def live(self) -> None:
        """Polls see the jobs in `live` alone."""
        for job_id, job in self._jobs.items():
            if job is None or job.stage is not Stage.TRACKED or job.seen is None:
                continue
            if not await self._redis.hexists(keys.live(job.upstream), job.seen.id):
                entry = (keys.live(job.upstream), job.seen.id, f"{job_id} ")
                words = f"it is tracked at {job.upstream} but no poll would see it"
                self._say("unseen", job_member(job_id), words, partial(self._redis.hset, *entry))
        prefix = keys.live("")
        async for name in self._names(f"{prefix}*"):
            upstream = name.removeprefix(prefix)
            entries = await self._store.upstreams.live(upstream)
            for upstream_id, (job_id, _) in entries.items():
                job = self._jobs.get(job_id)
                if job_id not in self._jobs or (job and job.stage is Stage.SETTLED):
                    words = f"{upstream} is polled for {job_id}, which has ended or was deleted"
                    self._say("orphan", upstream_id, words, partial(self._redis.hdel, name, upstream_id))
            if entries and not await self._due(poll_member(upstream)):
                member = poll_member(upstream)
                self._say("forgotten", member, "jobs are live there and no poll is planned", self._wake(member))
        await self._orphans()

    async def _orphans(self) -> None:
        """Finds ended jobs in indexes of live ones: they hold up a queue or the deletion of a file."""
        for pattern in (keys.waiting("*"), keys.file_users("*"), keys.copy_users("*", "*")):
            async for name in self._names(pattern):
                ordered = name.startswith(keys.waiting(""))
                for job_id in await (self._redis.zrange(name, 0, -1) if ordered else self._redis.smembers(name)):
                    job = self._jobs.get(job_id)
                    if job_id not in self._jobs or (job and job.stage is Stage.SETTLED):
                        remove = self._redis.zrem if ordered else self._redis.srem
                        words = f"is in {name}, though it has ended or was deleted"
                        self._say("orphan", job_id, words, partial(remove, name, job_id))

    async def copies(self) -> None:
        prefix = "th:copy-waiters:"
        async for name in self._names(f"{prefix}*"):
            upstream, _, sha256 = name.removeprefix(prefix).rpartition(":")
            member = f"copy:{upstream}:{sha256}"
            try:
                record = await self._store.copies.read(upstream, sha256)
            except RecordUnreadable as error:
                self._say("unreadable", member, error.message)
                continue
            except RecordTooNew:
                continue
            if record and record.copy.state == "wanted" and not await self._due(member):
                self._say("forgotten", member, "jobs wait for this upload and no step is planned", self._wake(member))

    async def deliveries(self) -> None:
        prefix = keys.delivery("")
        async for name in self._names(f"{prefix}*"):
            document = await self._redis.hget(name, "doc")
            try:
                delivery = Delivery.model_validate_json(document or "")
            except ValidationError:
                self._say("unreadable", name, "no step can read this delivery")
                continue
            if delivery.state != "pending":
                continue
            member = delivery_member(delivery.id)
            if not await self._due(member) and not await upgrade.is_in_lane(self._store, delivery):
                self._say("stuck", delivery.id, f"to {delivery.url}: pending, and not due", self._wake(member))

    async def leases(self) -> None:
        async for name in self._names(keys.lease("*")):
            if await self._redis.pttl(name) == -1:
                words = "a lease that never ends: this program did not take it"
                self._say("lease", name, words, partial(self._redis.delete, name))

    async def machinery(self) -> None:
        tick, now = await self._redis.get(keys.CLOCK), await self._store.now_ms()
        if tick is None or now - int(tick) > CLOCK_MS:
            ago = "ever" if tick is None else f"for {(now - int(tick)) // 1000} s"
            self._say("clock", "clock", f"no scheduler has ticked {ago}: is a worker running?", grave=False)
        for queue in QUEUES:
            await self._failed(queue)

    async def _failed(self, queue: Queue) -> None:
        """Finds failed steps, which RQ keeps for a day. They are repeated anyway: their members are still due."""
        registry = f"rq:failed:{queue}"
        count = await self._redis.zcard(registry)
        if not count:
            return
        shown = []
        for rq_id in await self._redis.zrevrange(registry, 0, RQ_SHOWN - 1):
            shown.append(await self._redis.hget(f"rq:job:{rq_id}", "description") or rq_id)
        more = f" and {count - len(shown)} more" if count > len(shown) else ""
        words = f"{count} steps failed lately: {', '.join(shown)}{more}; the workers' log says why"
        self._say("failed steps", f"rq:failed:{queue}", words, grave=False)
