"""Upstreams: the jobs that are live at each, those that wait for a slot, and holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from tunehook.model.job import Job, UpstreamJob
from tunehook.model.member import job_member, poll_member, queue_of
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue

#: So long extra jobs of a create with unknown outcome are looked for.
EXTRAS_SECONDS = 24 * 3600
#: A webhook's signature is valid for 300 s before and after its time; its id is kept for longer.
HOOK_SECONDS = 900
#: Added to the place of a job of low priority: more than there will ever be jobs.
LAST = 2**50
#: So many ends of jobs are kept, and needed, to say when a slot is likely.
FREED_KEPT, FREED_LEAST = 20, 5
#: So long a create counts as a job there without a sign of its step.
CREATE_SECONDS = 60


@dataclass(frozen=True)
class Hold:
    """No job is created at this upstream until `until` (unix seconds)."""

    code: str
    reason: str
    until: int


class Upstreams:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    def track(self, change: Change, job: Job, seen: UpstreamJob) -> Change:
        """Adds a job to those that polls watch."""
        self.noticed(change, job, seen)
        change.claim(keys.known(job.upstream), seen.id, job.id).do("ZREM", keys.creates(job.upstream), job.id)
        self.leave_queue(change, job, with_slot=True)
        poll = poll_member(job.upstream)
        change.do("ZADD", keys.due(queue_of(poll)), "NX", 0, poll)  # a poll repeats itself once it is planned
        return change.wake(poll) if seen.ended else change

    def noticed(self, change: Change, job: Job, seen: UpstreamJob) -> Change:
        """Adds the state in which a poll last saw the job; one that has ended is news to the next poll."""
        fingerprint = "" if seen.ended else seen.fingerprint
        return change.do("HSET", keys.live(job.upstream), seen.id, f"{job.id} {fingerprint}")

    def watch_for_extras(self, change: Change, job: Job) -> Change:
        """Adds that a create of the job has an unknown outcome: an extra job may turn up within a day."""
        return change.at(keys.watched_for_extras(job.upstream), job.id, EXTRAS_SECONDS)

    async def live(self, upstream: str) -> dict[str, tuple[str, str]]:
        """Returns the live jobs: upstream job id → (our id, fingerprint when last seen)."""
        entries = await self._store.redis.hgetall(keys.live(upstream))
        return {upstream_id: _split(value) for upstream_id, value in entries.items()}

    async def owners(self, upstream: str, upstream_job_ids: list[str]) -> list[tuple[str | None, str | None]]:
        """Returns for each (our job's id, None), (None, its project) of a job that was deleted, or (None, None)."""
        if not upstream_job_ids:
            return []
        values = await self._store.redis.hmget(keys.known(upstream), upstream_job_ids)
        return [_owner(value) for value in values]

    async def of_others(self, upstream: str, upstream_job_ids: list[str], job_id: str) -> set[str]:
        """Returns those upstream jobs that belong to another job than this one."""
        owners = await self.owners(upstream, upstream_job_ids)
        its_own = ((None, None), (job_id, None))
        return {one for one, owner in zip(upstream_job_ids, owners, strict=True) if owner not in its_own}

    async def watched_for_extras(self, upstream: str) -> list[str]:
        """Returns the jobs whose extras are still looked for."""
        now = await self._store.now_ms()
        await self._store.redis.zremrangebyscore(keys.watched_for_extras(upstream), "-inf", now)
        return list(await self._store.redis.zrange(keys.watched_for_extras(upstream), 0, -1))

    async def logs_to_read(self, upstream: str, job_ids: list[str], *, older_than: float, limit: int) -> list[str]:
        """Returns jobs whose events were not fetched for `older_than` seconds, and notes them as read."""
        return await self._in_turn(keys.log_read(upstream), job_ids, older_than=older_than, limit=limit)

    async def extras_to_find(self, upstream: str, job_ids: list[str], *, older_than: float, limit: int) -> list[str]:
        """Returns jobs whose extras were not looked for in `older_than` seconds, likewise."""
        return await self._in_turn(keys.extras_sought(upstream), job_ids, older_than=older_than, limit=limit)

    async def stopped_poll(self, upstream: str) -> tuple[str | None, set[str] | None]:
        """Returns, once, where the last poll ran out of time, so that the next one goes on there.

        That is the upstream job behind which the list goes on (None: from the top, or it was read to its end) and
        the upstream jobs that were not seen yet (None: the last poll did not stop).
        """
        value = await self._store.redis.getdel(keys.poll_cursor(upstream))
        if not value:
            return None, None
        stopped = json.loads(value)
        return stopped["after"], set(stopped["unseen"])

    async def stop_poll(self, upstream: str, after: str | None, unseen: Iterable[str]) -> None:
        """Notes where the next poll goes on; see `stopped_poll`."""
        stopped = json.dumps({"after": after, "unseen": sorted(unseen)})
        await self._store.redis.set(keys.poll_cursor(upstream), stopped, ex=3600)

    async def _in_turn(self, key: str, job_ids: list[str], *, older_than: float, limit: int) -> list[str]:
        now = await self._store.now_ms()
        read = dict(await self._store.redis.zrange(key, 0, -1, withscores=True))
        # A time in the future is of before Redis' clock was set back.
        wanted = sorted((at if (at := read.get(job_id, 0.0)) <= now else 0.0, job_id) for job_id in job_ids)
        chosen = [job_id for at, job_id in wanted if at <= now - older_than * 1000][:limit]
        gone = set(read) - set(job_ids)
        if chosen:
            await self._store.redis.zadd(key, dict.fromkeys(chosen, now))
        if gone:
            await self._store.redis.zrem(key, *gone)
        return chosen

    async def hook_came_before(self, upstream: str, message_id: str) -> bool:
        """Returns whether an upstream's webhook with this id was accepted before."""
        return bool(await self._store.redis.exists(keys.hook_seen(upstream, message_id)))

    async def remember_hook(self, upstream: str, message_id: str) -> None:
        """Remembers a webhook for as long as it could be replayed."""
        await self._store.redis.set(keys.hook_seen(upstream, message_id), 1, ex=HOOK_SECONDS)

    # ---- waiting for a slot

    def queue_up(self, change: Change, job: Job) -> Change:
        """Adds the job to those that wait for a slot: projects take turns, low priority comes last in its project."""
        low = LAST if job.priority == "low" else 0
        change.joins.append([keys.slot_turns(job.upstream), job.project, keys.jobs(job.project), job.id, low])
        return change.list_in(keys.waiting(job.upstream), job.id)

    def leave_queue(self, change: Change, job: Job, *, with_slot: bool = False) -> Change:
        """Removes the job from those that wait for a slot. `with_slot`: its project's turn is over."""
        row = [keys.waiting(job.upstream), keys.slot_turns(job.upstream), job.project, job.id, int(with_slot)]
        change.leaves.append(row)
        return change

    async def waits_behind(self, job: Job) -> bool:
        """Returns whether another job waits for a slot there, which is to be the first."""
        first = await self.next_waiting(job.upstream)
        return first is not None and first != job.id

    async def waiting_before(self, job: Job) -> int:
        """Returns how many jobs get a slot before this one; all that wait, for one that is not among them."""
        turns = keys.slot_turns(job.upstream)
        async with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.zrange(turns, 0, -1, withscores=True).zrank(f"{turns}:{job.project}", job.id)
            pipe.zrank(keys.waiting(job.upstream), job.id).zcard(keys.waiting(job.upstream))
            projects, ahead, place, waiting = await pipe.execute()
            own = dict(projects).get(job.project)
            if ahead is None or own is None:  # in no line, or put into the queue by a version that knows none
                return int(waiting if place is None else place)
            for project, _ in projects:
                pipe.zcard(f"{turns}:{project}")
            lengths = await pipe.execute()
        served = own + ahead  # the turn in which its project has come to it
        return int(ahead) + sum(
            _turns_before(served, job.project, project, turn, length)
            for (project, turn), length in zip(projects, lengths, strict=True)
            if project != job.project
        )

    async def next_waiting(self, upstream: str, besides: str = "") -> str | None:
        """Returns the job that is next in turn, and due: a parked one must not hold up all others."""
        names = [keys.slot_turns(upstream), keys.waiting(upstream), keys.due(queue_of(job_member("")))]
        found = await self._store.run("next_slot", names, [besides])
        return str(found) if found else None

    def freed_slot(self, change: Change, upstream: str, now: int) -> Change:
        """Adds that a job there has ended, for the times of the next slots."""
        name = keys.slots_freed(upstream)
        return change.do("LPUSH", name, now).do("LTRIM", name, 0, FREED_KEPT - 1)

    async def slot_expected(self, upstream: str, before: int, now: int) -> int | None:
        """Returns when a slot is likely for a job that `before` others are before; None without a history."""
        ends = [int(at) for at in await self._store.redis.lrange(keys.slots_freed(upstream), 0, -1)]
        if len(ends) < FREED_LEAST:
            return None
        every = max(0, ends[0] - ends[-1]) / (len(ends) - 1)
        return int(max(now, ends[0] + every) + before * every)

    async def jobs_there(self, upstream: str) -> int:
        """Returns how many jobs of ours the upstream has, or is being asked to create."""
        pipe = self._store.redis.pipeline()
        return sum(await pipe.hlen(keys.live(upstream)).zcard(keys.creates(upstream)).execute())

    def note_slots(self, change: Change, upstream: str, jobs: int) -> Change:
        """Adds that the upstream takes no more jobs than these of ours; kept for a day."""
        return change.do("SET", keys.slots(upstream), jobs, "EX", 24 * 3600)

    async def take_slot(self, job: Job, free: int) -> bool:
        """Counts a create among the jobs there, unless it would use one of the last `free` slots of those known.

        Of many that ask at once, each counts those before it. A job that is there is counted once (`track`); a create
        whose step dies is counted for a minute.
        """
        creates, now = keys.creates(job.upstream), await self._store.now_ms()
        async with self._store.redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(creates, "-inf", now).zrem(creates, job.id).zcard(creates)
            pipe.hlen(keys.live(job.upstream)).get(keys.slots(job.upstream))
            pipe.zadd(creates, {job.id: now + CREATE_SECONDS * 1000})
            *_, others, live, most, _ = await pipe.execute()
        if most is None or int(others) + int(live) < max(1, int(most) - free):
            return True
        await self.leave_slot(job)
        return False

    async def leave_slot(self, job: Job) -> None:
        """Counts a create no more: it made no job."""
        await self._store.redis.zrem(keys.creates(job.upstream), job.id)

    # ---- holds

    async def hold(self, upstream: str, code: str, reason: str, seconds: float) -> None:
        """Puts an upstream on hold for `seconds`."""
        until = (await self._store.now_ms()) // 1000 + int(seconds)
        value = json.dumps({"code": code, "reason": reason, "until": until})
        await self._store.redis.set(keys.hold(upstream), value, px=max(1, int(seconds * 1000)))

    async def held(self, upstream: str) -> Hold | None:
        """Returns the hold that an upstream is on; None: none."""
        value = await self._store.redis.get(keys.hold(upstream))
        return Hold(**json.loads(value)) if value else None


def _turns_before(served: float, project: str, other: str, turn: float, length: int) -> int:
    """Returns how many jobs of another project, with `length` in its line from `turn` on, come before turn `served`."""
    ahead = served - turn
    tie = ahead >= 0 and ahead.is_integer() and other < project
    return min(length, max(0, math.ceil(ahead)) + (1 if tie else 0))


def _split(value: str) -> tuple[str, str]:
    job_id, _, fingerprint = value.partition(" ")
    return job_id, fingerprint


def _owner(value: str | None) -> tuple[str | None, str | None]:
    if not value:
        return None, None
    return (None, value.removeprefix(keys.FORGOTTEN)) if value.startswith(keys.FORGOTTEN) else (value, None)
