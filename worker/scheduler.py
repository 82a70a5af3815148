"""The scheduler: enqueues the steps that are due. It alone writes to RQ's queues; many may run.

A claim moves the due time ahead (visibility timeout), so a lost RQ message, a killed worker, a restarted Redis and a
dead scheduler all heal the same way: a step that was not done is due again. RQ's own retry, scheduler and webhooks
are not used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from tunehook.errors import StoreUnavailable
from tunehook.model.member import PARKED, QUEUES, SWEEPS, Queue, poll_member
from tunehook.store import upgrade
from tunehook.store.store import Store
from worker.steps import TIMEOUTS, TOGETHER, steps_for

log = logging.getLogger("tunehook.scheduler")

#: Steps that wait in RQ are claimed again after 20 s, in vain, and all that becomes due waits behind them: so only as
#: many are enqueued as start soon. The rest waits in `due`. For `steps`, so many for each worker of this supervisor.
ENQUEUED: dict[Queue, int] = {"steps": 2, "polls": 2, "bulk": 2, "deliver": 1}
ROUND_SECONDS = 1.0
#: A queue that had no room is tried again after this time.
FULL_SECONDS = 0.05
FAILED_STEP_SECONDS = 24 * 3600
UPGRADE_SECONDS = 10.0
#: For so long a claim hides a member; between two runs of a sweep there is a day at most.
CLAIMED_SECONDS, DAY = 20.0, 24 * 3600.0


def queues(connection: Redis) -> dict[Queue, RQQueue]:
    """Returns RQ's queues by our names. JSON, no pickle: a message names a step and ids."""
    return {name: RQQueue(name, connection=connection, serializer=JSONSerializer) for name in QUEUES}


class Scheduler:
    """`poll_seconds`: the longest time between two polls of an upstream."""

    def __init__(
        self,
        store: Store,
        connection: Redis,
        upstreams: list[str],
        workers: int = 1,
        *,
        poll_seconds: float = 30.0,
        upgrade_seconds: float = UPGRADE_SECONDS,
    ) -> None:
        self._store = store
        self._host = socket.gethostname()  # in a container: its id
        self._queues = queues(connection)
        self._upstreams = upstreams
        self._newer: set[str] = set()  #: kinds of a newer version that the log has
        self._poll_seconds = max(poll_seconds, CLAIMED_SECONDS)
        self._upgrade_seconds = upgrade_seconds
        self._enqueued = {**ENQUEUED, "steps": workers * ENQUEUED["steps"]}
        self._upgraded = float("-inf")  #: when records of an earlier version were last carried over, monotonic
        self._next = dict.fromkeys(QUEUES, ROUND_SECONDS)  #: seconds until something is due, as last seen

    def _patience(self) -> float:
        """Seconds until the next step is due; at most 1, in case a wake-up was lost."""
        return max(0.005, min(ROUND_SECONDS, *self._next.values()))

    async def run(self) -> None:
        """Runs for ever; waits while Redis is away, and says when it goes and when it is back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_indexed())
            await self._enqueue()

    async def _keep_indexed(self) -> None:
        """Indexes jobs of earlier versions, beside all else: 100,000 of them take minutes."""
        while True:
            try:
                await upgrade.index_jobs(self._store)
            except StoreUnavailable:
                pass  # the rounds say it
            except RedisError as error:
                log.warning("jobs of an earlier version cannot be indexed now: %s", error)
            await asyncio.sleep(self._upgrade_seconds)

    async def _enqueue(self) -> None:
        away_since: float | None = None
        while True:
            try:
                last = await self._round()
                if away_since is not None:
                    log.warning(
                        "Redis is back after %.1f s: what was under way is due again", time.monotonic() - away_since
                    )
                    away_since = None
                async for woken in self._store.wakes(self._patience):
                    if time.monotonic() - last >= ROUND_SECONDS:
                        last = await self._round()
                    else:
                        await asyncio.gather(*(self.enqueue_due(queue) for queue in woken or QUEUES))
            except (StoreUnavailable, RedisError) as error:
                if away_since is None:
                    away_since = time.monotonic()
                    log.warning("Redis is away or refuses, so all steps wait for it: %s", error.__cause__ or error)
                await asyncio.sleep(0.5)

    async def _round(self) -> float:
        """Enqueues from all queues, once a second: steps due by time must not wait for a pause of wake-ups.

        Also plans the polls and sweeps that are missing. Returns when, monotonic. While replicas confirm nothing, steps
        could do nothing but be claimed in vain.
        """
        await self._store.confirm()
        if time.monotonic() - self._upgraded >= self._upgrade_seconds:
            await upgrade.carry_over(self._store)
            self._upgraded = time.monotonic()
        if back := await self._store.redis_health.watch_clock():
            log.warning("Redis' clock was set back by %.0f s: due times were moved by as much", back)
        recurring = dict.fromkeys(map(poll_member, self._upstreams), self._poll_seconds) | dict.fromkeys(SWEEPS, DAY)
        for member, longest in recurring.items():
            await self._store.wake_if_absent(member)
            await self._store.plan_at_latest(member, longest)
        await asyncio.gather(*(self.enqueue_due(queue) for queue in QUEUES))
        await self._store.tick(self._host)
        return time.monotonic()

    async def enqueue_due(self, queue: Queue) -> None:
        """Claims what is due and enqueues its steps, as far as RQ has room."""
        rq = self._queues[queue]
        waiting = await asyncio.to_thread(lambda: rq.count)
        if queue == "deliver":
            # Delivery steps claim what is due themselves; one that waits for a worker is enough.
            if waiting < self._enqueued[queue] and await self._store.delivery_queue.anything_due():
                await asyncio.to_thread(_enqueue, rq, [("worker.steps.deliver", ())], TIMEOUTS[queue])
            return
        room = max(0, self._enqueued[queue] - waiting)
        claimed = await self._store.claim(queue, room, TOGETHER)
        self._next[queue] = ROUND_SECONDS if claimed.wait is None else max(claimed.wait, 0 if room else FULL_SECONDS)
        for member in claimed.parked:
            await self._store.plan(PARKED, 0)
            log.error("%s is parked: 20 steps in a row made no progress. Run `tunehook doctor`.", member)
        for kind in {member.partition(":")[0] for member in claimed.newer} - self._newer:
            log.warning("Steps of the kind %s are left to a newer version: this one does not know them.", kind)
            self._newer.add(kind)
        if claimed.members:
            steps = steps_for(claimed.members, claimed.first)
            await asyncio.to_thread(_enqueue, rq, steps, TIMEOUTS[queue])


def _enqueue(rq: RQQueue, steps: list[tuple[str, tuple[str, ...]]], timeout: int) -> None:
    rq.enqueue_many(
        [
            RQQueue.prepare_data(
                path,
                args=arguments,
                timeout=timeout,
                result_ttl=0,
                failure_ttl=FAILED_STEP_SECONDS,
                description=" ".join((path, *arguments)),
            )
            for path, arguments in steps
        ]
    )
