"""The due queue: when each member is due, who claims it, and how a scheduler hears of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tunehook.model.member import KINDS, Queue, queue_of
from tunehook.store.engine import keys
from tunehook.store.engine.client import unavailable
from tunehook.store.engine.connection import Connection

#: A scheduler ticks once a second; after this it is late.
LATE_MS = 10_000
#: Kinds that are claimed for ever → the longest pause between claims in vain, ms. All others depend on polls and
#: sweeps, webhooks are to be sent, and a deployment that is not watched may cost money by the hour.
NEVER_PARKED = {"look": 20_000, "delivery": 20_000, "sweep": 20_000, "deployment": 600_000}
#: As claim.lua takes them: all kinds of this version; 0: parked after 20 claims in vain.
_LONGEST = json.dumps({kind: NEVER_PARKED.get(kind, 0) for kind in KINDS})

#: Queues in which projects take turns. A poll is for all projects, and receivers of webhooks have their own fairness.
WITH_TURNS: tuple[Queue, ...] = ("steps", "bulk")


@dataclass(frozen=True)
class Claimed:
    members: list[str]
    parked: list[str]
    wait: float | None  #: seconds until the next is due; None: nothing is
    newer: list[str]  #: of kinds that only a newer version knows: left to its programs
    first: frozenset[str] = frozenset()  #: members that were claimed for the first time since their last commit


class DueQueue(Connection):
    """Members (`<kind>:<id>`) by the time at which each is due, one set per RQ queue."""

    async def claim(self, queue: Queue, limit: int, together: Mapping[str, int] | None = None) -> Claimed:
        """Claims members that are due for up to `limit` steps, with a visibility timeout. See claim.lua.

        `together`: kind → so many that are claimed for the first time share a step. All others have one of their own.
        """
        turns = [keys.turns(queue)] if queue in WITH_TURNS else []
        answer = await self.run(
            "claim", [keys.due(queue), keys.CLAIMS, keys.PARKED, *turns], [limit, _LONGEST, json.dumps(together or {})]
        )
        members, parked, wait, newer, first = answer
        return Claimed(members, parked, None if int(wait) < 0 else int(wait) / 1000, newer, frozenset(first))

    async def wake(self, member: str) -> None:
        """Makes a member due now. A step that works on it now cannot plan it for later: see plan.lua."""
        await self._plan(member, "wake")

    async def plan(self, member: str, delay: float | None) -> None:
        """Plans a member in `delay` seconds, without a record; None: it is over. Now, if it was woken meanwhile."""
        await self._plan(member, "never" if delay is None else int(delay * 1000))

    async def wake_if_absent(self, member: str) -> None:
        """Makes a member due now unless it is planned already."""
        queue = queue_of(member)
        if await self.redis.zadd(keys.due(queue), {member: await self.now_ms()}, nx=True):
            await self.redis.publish(keys.WAKE, queue)

    async def plan_at_latest(self, member: str, delay: float) -> None:
        """Plans a member in `delay` seconds if it is planned for later: for longer than its kind ever is."""
        due_at = await self.now_ms() + int(delay * 1000)
        await self.redis.zadd(keys.due(queue_of(member)), {member: due_at}, xx=True, lt=True)

    async def is_planned(self, member: str) -> bool:
        """Returns whether the member will be due."""
        return await self.redis.zscore(keys.due(queue_of(member)), member) is not None

    async def parked(self) -> list[tuple[str, int]]:
        """Returns the members that were given up, and when (ms)."""
        rows = await self.redis.zrange(keys.PARKED, 0, -1, withscores=True)
        return [(str(member), int(at)) for member, at in rows]

    async def unsettled(self, limit: int) -> list[str]:
        """Returns ids of jobs that are planned, the next to be due first."""
        members = await self.redis.zrange(keys.due("steps"), 0, limit - 1)
        return [member.removeprefix("job:") for member in members if member.startswith("job:")]

    async def unplan(self, member: str, *, unless_any_in: str = "") -> None:
        """Removes a member from the plan, unless it was woken meanwhile or that set has members."""
        await self._plan(member, "never", unless_any_in)

    async def _plan(self, member: str, delay_ms: int | Literal["wake", "never"], unless_any_in: str = "") -> None:
        queue = queue_of(member)
        await self.run("plan", [keys.due(queue)], [member, queue, delay_ms, unless_any_in])

    async def forgive(self, member: str) -> None:
        """Does not count the last claim: the member is due again after the shortest pause."""
        await self.redis.hdel(keys.CLAIMS, member)

    async def park(self, member: str) -> None:
        """Parks a member that no step can handle, until `tunehook doctor` or a change wakes it."""
        now = await self.now_ms()
        pipe = self.redis.pipeline().zadd(keys.PARKED, {member: now}).hdel(keys.CLAIMS, member)
        await pipe.zrem(keys.due(queue_of(member)), member).execute()

    async def wakes(self, patience: Callable[[], float]) -> AsyncIterator[set[Queue]]:
        """Yields the queues in which a member became due; an empty set after `patience()` seconds without one.

        Wake-ups of 3 ms are gathered into one.
        """
        async with self.redis.pubsub() as pubsub:
            with unavailable():
                await pubsub.subscribe(keys.WAKE)
            while True:
                woken: set[Queue] = set()
                with unavailable():
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=patience())
                    while message:
                        woken.add(message["data"])
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.003)
                yield woken

    async def tick(self, host: str) -> None:
        """Notes that the scheduler on `host` has been through all that is due."""
        await self.redis.set(keys.clock_on(host), "ticks", px=LATE_MS)

    async def ticks(self, host: str) -> bool:
        """Returns whether the scheduler on `host` has ticked within 10 s. It does so once a second."""
        # Far longer is left of a tick that came before Redis' clock was set back.
        return 0 < int(await self.redis.pttl(keys.clock_on(host))) <= 10 * LATE_MS
