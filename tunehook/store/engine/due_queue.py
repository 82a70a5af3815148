"""What is due, who takes it, and how one hears of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from tunehook.model.member import Queue, queue_of
from tunehook.store.engine import keys
from tunehook.store.engine.connection import Connection, unavailable

#: A clock looks once a second; after this it is late.
LATE_MS = 10_000
#: These go on for ever, every 20 s, since all others depend on them.
NEVER_PARKED = json.dumps({"look": True, "delivery": True, "sweep": True})


@dataclass(frozen=True)
class Claimed:
    members: list[str]
    parked: list[str]
    wait: float | None  #: seconds until the next is due; None: nothing is


class DueQueue(Connection):
    """Sets of members (`<kind>:<id>`), each with the moment at which something has to happen to it."""

    async def claim(self, queue: Queue, limit: int) -> Claimed:
        """Takes up to `limit` members that are due. See claim.lua."""
        answer = await self.run("claim", [keys.due(queue), keys.CLAIMS, keys.PARKED], [limit, NEVER_PARKED])
        members, parked, wait = answer
        return Claimed(members, parked, None if int(wait) < 0 else int(wait) / 1000)

    async def wake(self, member: str) -> None:
        """Makes something due now. Whoever works on it at this moment does not plan it for later: see wake.lua."""
        queue = queue_of(member)
        await self.run("wake", [keys.due(queue)], [member, queue])

    async def plan(self, member: str, delay: float) -> None:
        """Enters something as due in `delay` seconds, without a record; now, if it was woken meanwhile."""
        queue = queue_of(member)
        await self.run("plan", [keys.due(queue)], [member, queue, int(delay * 1000), ""])

    async def plan_if_absent(self, member: str, delay: float) -> None:
        queue = queue_of(member)
        due_at = await self.now_ms() + int(delay * 1000)
        with unavailable():
            if await self.redis.zadd(keys.due(queue), {member: due_at}, nx=True):
                await self.redis.publish(keys.WAKE, queue)

    async def is_planned(self, member: str) -> bool:
        """Whether anything still has to happen."""
        with unavailable():
            return await self.redis.zscore(keys.due(queue_of(member)), member) is not None

    async def parked(self) -> list[tuple[str, int]]:
        """What was given up, and when (ms)."""
        with unavailable():
            rows = await self.redis.zrange(keys.PARKED, 0, -1, withscores=True)
        return [(str(member), int(at)) for member, at in rows]

    async def unsettled(self, limit: int) -> list[str]:
        """Ids of jobs that something is still planned for, the next that are due."""
        with unavailable():
            members = await self.redis.zrange(keys.due("steps"), 0, limit - 1)
        return [member.removeprefix("job:") for member in members if member.startswith("job:")]

    async def unplan(self, member: str, *, unless_any_in: str = "") -> None:
        """Nothing more is to be done with it: unless it was woken meanwhile, or somebody is in that set."""
        queue = queue_of(member)
        await self.run("plan", [keys.due(queue)], [member, queue, -1, unless_any_in])

    async def forgive(self, member: str) -> None:
        """A claim that came to nothing, and is not to be counted: it is due again after the shortest pause."""
        with unavailable():
            await self.redis.hdel(keys.CLAIMS, member)

    async def park(self, member: str) -> None:
        """What no step can handle: not due any more, until a person (`tunehook doctor`) or a change wakes it."""
        now = await self.now_ms()
        with unavailable():
            async with self.redis.pipeline(transaction=True) as pipe:
                pipe.zadd(keys.PARKED, {member: now})
                pipe.zrem(keys.due(queue_of(member)), member)
                pipe.hdel(keys.CLAIMS, member)
                await pipe.execute()

    async def wakes(self, patience: Callable[[], float]) -> AsyncIterator[set[Queue]]:
        """Yields the queues that something became due in; an empty set when nothing did for `patience()` seconds.

        A burst of wake-ups is one: they are gathered for 3 ms.
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

    async def news(self, ready: Callable[[], None]) -> AsyncGenerator[str, None]:
        """Yields the id of every job that has changed, or whose log has; an empty one a second when none has.

        `ready` is called once nothing can be missed any more. StoreUnavailable ends it, and news were missed then.
        """
        async with self.redis.pubsub() as pubsub:
            with unavailable():
                await pubsub.subscribe(keys.NEWS)
                while await pubsub.get_message(timeout=1.0) is None:
                    pass
            ready()
            while True:
                with unavailable():
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                yield str(message["data"]) if message else ""

    async def tick(self, host: str) -> None:
        """The clock on `host` has been through all that is due."""
        with unavailable():
            await self.redis.set(keys.clock_on(host), "ticks", px=LATE_MS)

    async def ticks(self, host: str) -> bool:
        """Has the clock on `host` ticked within 10 s? It does so once a second."""
        with unavailable():
            return bool(await self.redis.exists(keys.clock_on(host)))
