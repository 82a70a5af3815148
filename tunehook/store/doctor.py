"""The doctor: finds inconsistencies in the whole store and can mend those that are safe to mend.

Each finding is a fault of this program, or of a person who wrote to Redis by hand. Reading is not atomic while
programs run, so a finding counts only when it is found twice. Records are read in batches and not kept: memory does not
grow with the store.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import islice

from pydantic import ValidationError

from tunehook.errors import RecordTooNew, RecordUnreadable
from tunehook.model.job import Job, Stage
from tunehook.model.member import delivery_member, deployment_member, job_member, poll_member, queue_of
from tunehook.model.webhook import Delivery
from tunehook.store import machinery, upgrade
from tunehook.store.engine import keys
from tunehook.store.finding import Finding, Mend
from tunehook.store.jobs import JobRecord
from tunehook.store.store import Store

AGAIN_SECONDS = 1.0
#: Records that are read at once, and keys that one SCAN looks at.
BATCH, SCANNED = 500, 5000
COPY_WAITERS, COPY_USERS = (name("", "")[:-1] for name in (keys.copy_waiters, keys.copy_users))


async def findings(store: Store) -> list[Finding]:
    """Returns what is wrong now; an inconsistency of records only if it was there a second ago too."""
    before = set(await _of_records(store))
    found = []
    if before:
        await asyncio.sleep(AGAIN_SECONDS)
        found = [finding for finding in await _of_records(store) if finding in before]
    return found + await machinery.examine(store)


async def _of_records(store: Store) -> list[Finding]:
    checkup = _Checkup(store)
    await checkup.all_keys()
    await checkup.limits()
    await checkup.parked()
    await checkup.deployments()
    return checkup.found


class _Checkup:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._redis = store.redis
        self.found: list[Finding] = []
        self._all_read = True  #: no record of a job is unreadable, or of a newer version
        self._held: Counter[tuple[str, str]] = Counter()  #: (project, month) → millionths that its jobs hold

    def _say(self, kind: str, subject: str, words: str, mend: Mend | None = None, *, grave: bool = True) -> None:
        self.found.append(Finding(kind, subject, words, mend, grave))

    async def all_keys(self) -> None:
        """Goes through all keys once, and examines those of each kind in batches of names without its prefix."""
        kinds: dict[str, Callable[[list[str]], Awaitable[None]]] = {
            keys.job(""): self._jobs,
            keys.delivery(""): self._deliveries,
            keys.live(""): self._live,
            keys.lease(""): self._leases,
            COPY_WAITERS: self._copies,
            keys.waiting(""): partial(self._orphans, keys.waiting("")),
            keys.awaiting(""): partial(self._orphans, keys.awaiting("")),
            keys.file_users(""): partial(self._orphans, keys.file_users("")),
            COPY_USERS: partial(self._orphans, COPY_USERS),
        }
        batches: dict[str, dict[str, None]] = {prefix: {} for prefix in kinds}  # SCAN may give a name twice
        async for name in self._redis.scan_iter(match=keys.OWN, count=SCANNED):
            prefix = name[: name.find(":", len("th:")) + 1]
            if (batch := batches.get(prefix)) is None:
                continue
            batch[name.removeprefix(prefix)] = None
            if len(batch) >= BATCH:
                await kinds[prefix](list(batch))
                batch.clear()
        for prefix, batch in batches.items():
            if batch:
                await kinds[prefix](list(batch))

    async def _scores(self, name: str, members: list[str]) -> list[float | None]:
        return list(await self._redis.zmscore(name, members)) if members else []

    async def _ended(self, job_ids: Iterable[str]) -> set[str]:
        """Returns those of the jobs that have ended or were deleted."""
        ended: set[str] = set()
        rest = iter(job_ids)
        while batch := list(islice(rest, BATCH)):
            found = await self._store.read(("HMGET", keys.job(job_id), "rev", "stage") for job_id in batch)
            for job_id, (revision, stage) in zip(batch, found, strict=True):
                if revision is None or stage == Stage.SETTLED:
                    ended.add(job_id)
        return ended

    def _wake(self, member: str) -> Mend:
        async def _mend() -> None:
            await self._redis.zrem(keys.PARKED, member)
            await self._store.wake(member)

        return _mend

    async def _jobs(self, job_ids: list[str]) -> None:
        unsettled: list[Job] = []
        for job_id, record in zip(job_ids, await JobRecord.examine(self._store, job_ids), strict=True):
            self._all_read &= not isinstance(record, RecordUnreadable | RecordTooNew)
            if isinstance(record, RecordUnreadable):
                self._say("unreadable", job_member(job_id), record.message)
            elif isinstance(record, RecordTooNew):
                words = f"{record.message} It waits for a newer worker."
                self._say("newer", job_member(job_id), words, grave=False)
            elif record is not None and record.job.stage is not Stage.SETTLED:
                unsettled.append(record.job)
                if record.job.money is not None and record.job.money.held:
                    self._held[record.job.project, record.job.money.month] += record.job.money.held
        await self._unplanned(unsettled)
        await self._unseen(unsettled)

    async def _unplanned(self, jobs: list[Job]) -> None:
        members = [job_member(job.id) for job in jobs]
        parked = await self._scores(keys.PARKED, members)
        due = await self._scores(keys.due(queue_of(job_member(""))), members)
        for job, member, *planned in zip(jobs, members, parked, due, strict=True):
            if planned == [None, None]:
                self._say("forgotten", member, f"it is {job.stage} and no step is planned", self._wake(member))

    async def _unseen(self, jobs: list[Job]) -> None:
        """Polls see the jobs in `live` alone."""
        tracked = [(job, job.seen) for job in jobs if job.stage is Stage.TRACKED and job.seen is not None]
        there = await self._store.read(("HEXISTS", keys.live(job.upstream), seen.id) for job, seen in tracked)
        for (job, seen), is_live in zip(tracked, there, strict=True):
            if not is_live:
                entry = (keys.live(job.upstream), seen.id, f"{job.id} ")
                words = f"it is tracked at {job.upstream} but no poll would see it"
                self._say("unseen", job_member(job.id), words, partial(self._redis.hset, *entry))

    async def limits(self) -> None:
        """Compares what is counted of projects with their jobs' records; `all_keys` has read these."""
        projects = self._store.projects
        for account, (held, records) in (await projects.drifted(self._held)).items():
            words = f"it holds {held / 1e6:.6f} USD, and its unsettled jobs {records / 1e6:.6f} USD"
            # A record that cannot be read may hold the difference: to release it would let the project overspend.
            mend = partial(projects.mend, account, records - held) if self._all_read else None
            self._say("money", account, words, mend)
        for project, job_id in await projects.uncounted():
            words = f"it is not counted among the unsettled jobs of {project}, which are limited"
            self._say("uncounted", job_id, words, partial(projects.count_late, project, job_id))

    async def parked(self) -> None:
        for member in await self._redis.zrange(keys.PARKED, 0, -1):
            kind, _, job_id = member.partition(":")
            [record] = await JobRecord.examine(self._store, [job_id]) if kind == "job" else [None]
            if kind == "job" and record is None:
                self._say("parked", member, "its record was deleted", partial(self._redis.zrem, keys.PARKED, member))
            elif kind == "job" and not isinstance(record, JobRecord):
                self._say("parked", member, "no step can read its record: mend or delete it by hand")
            else:
                self._say("parked", member, "20 steps in a row failed; the workers' log says why", self._wake(member))

    async def _live(self, upstreams: list[str]) -> None:
        """Finds ended jobs among those that polls look for, and upstreams that are not polled."""
        for upstream in upstreams:
            entries = await self._store.upstreams.live(upstream)
            ended = await self._ended(job_id for job_id, _ in entries.values())
            for upstream_id, (job_id, _) in entries.items():
                if job_id in ended:
                    words = f"{upstream} is polled for {job_id}, which has ended or was deleted"
                    self._say("orphan", upstream_id, words, partial(self._redis.hdel, keys.live(upstream), upstream_id))
            if entries and not await self._store.is_planned(poll_member(upstream)):
                member = poll_member(upstream)
                self._say("forgotten", member, "jobs are live there and no poll is planned", self._wake(member))

    async def _orphans(self, prefix: str, rests: list[str]) -> None:
        """Finds ended jobs in indexes of live ones: they hold up a queue or the deletion of a file."""
        names, ordered = [prefix + rest for rest in rests], prefix == keys.waiting("")
        remove = self._redis.zrem if ordered else self._redis.srem
        members = await self._store.read(("ZRANGE", name, 0, -1) if ordered else ("SMEMBERS", name) for name in names)
        ended = await self._ended({job_id for each in members for job_id in each})
        for name, each in zip(names, members, strict=True):
            for job_id in sorted(ended.intersection(each)):
                words = f"is in {name}, though it has ended or was deleted"
                self._say("orphan", job_id, words, partial(remove, name, job_id))

    async def _copies(self, copy_ids: list[str]) -> None:
        for copy_id in copy_ids:
            upstream, _, sha256 = copy_id.rpartition(":")
            member = f"copy:{upstream}:{sha256}"
            try:
                record = await self._store.copies.read(upstream, sha256)
            except RecordUnreadable as error:
                self._say("unreadable", member, error.message)
                continue
            except RecordTooNew:
                continue
            if record and record.copy.state == "wanted" and not await self._store.is_planned(member):
                self._say("forgotten", member, "jobs wait for this upload and no step is planned", self._wake(member))

    async def deployments(self) -> None:
        for deployment in await self._store.deployments.live():
            member = deployment_member(deployment.id)
            if not await self._store.is_planned(member):
                self._say("forgotten", member, "a deployment without a planned step", self._wake(member))

    async def _deliveries(self, delivery_ids: list[str]) -> None:
        documents = await self._store.read(("HGET", keys.delivery(name), "doc") for name in delivery_ids)
        pending: list[Delivery] = []
        for delivery_id, document in zip(delivery_ids, documents, strict=True):
            try:
                delivery = Delivery.model_validate_json(document or "")
            except ValidationError:
                self._say("unreadable", keys.delivery(delivery_id), "no step can read this delivery")
                continue
            if delivery.state == "pending":
                pending.append(delivery)
        await self._stuck(pending)

    async def _stuck(self, deliveries: list[Delivery]) -> None:
        members = [delivery_member(delivery.id) for delivery in deliveries]
        due = await self._scores(keys.due("deliver"), members)
        for delivery, member, at in zip(deliveries, members, due, strict=True):
            if at is None and not await self._waits_elsewhere(delivery):
                self._say("stuck", delivery.id, f"to {delivery.url}: pending, and not due", self._wake(member))

    async def _waits_elsewhere(self, delivery: Delivery) -> bool:
        """Whether a delivery waits to be fetched, or in a lane of version 0.1."""
        fetched = delivery.pulled and await self._redis.zscore(keys.pull(delivery.endpoint_id or ""), delivery.id)
        return bool(fetched) or await upgrade.is_in_lane(self._store, delivery)

    async def _leases(self, members: list[str]) -> None:
        for name in map(keys.lease, members):
            if await self._redis.pttl(name) == -1:
                words = "a lease that never ends: this program did not take it"
                self._say("lease", name, words, partial(self._redis.delete, name))
