"""Upgrade from versions before 0.2: carries over what they stored in another form.

Jobs get the rows by which they are filtered. The set of deleted files becomes a sorted set of times. Polls, due beside
all other steps, get a queue of their own. Pending deliveries wait in lanes.

A lane was a sorted set of one receiver's deliveries (`th:lane:<receiver>`), and `lane:<receiver>` was due in
`th:due:deliver`, or in `th:due:slow` after an attempt without an answer. The scheduler carries lanes over when it
starts and every 10 s: during a rolling upgrade, programs of the old version go on adding to them.
"""

from __future__ import annotations

import asyncio
import logging

from tunehook.model.member import poll_member, queue_of
from tunehook.model.webhook import Delivery
from tunehook.store.engine import keys
from tunehook.store.engine.connection import Connection
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.jobs import Jobs

log = logging.getLogger(__name__)

OLD_DUE = ("th:due:deliver", "th:due:slow")
BATCH = 1000
#: Between two comparisons of all jobs with their rows, in all schedulers together: 0.3 s of CPU for 100,000 jobs.
CHECK_SECONDS = 600
#: The same after one that found some: programs of an older version may still change jobs.
CHECK_AGAIN_SECONDS = 30
#: Another process that indexes a project is waited for in such steps.
OTHER_SECONDS = 0.1
# Moves up to ARGV[3] deliveries of a lane, and its rest. A lane that an old worker has leased is being sent: it stays
# until the lease has ended. KEYS: lane, lease, old rest, rest, due, both old due sets   ARGV: member, receiver, limit
# Returns how many were moved.
_CARRY = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[4]) end
local moved = redis.call('ZRANGE', KEYS[1], 0, ARGV[3] - 1, 'WITHSCORES')
for i = 1, #moved, 2 do
  redis.call('ZADD', KEYS[5], 'NX', moved[i + 1], 'delivery:' .. moved[i])
  redis.call('ZREM', KEYS[1], moved[i])
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[6], ARGV[1])
  redis.call('ZREM', KEYS[7], ARGV[1])
  redis.call('SREM', 'th:slow-lanes', ARGV[2])
  redis.call('HDEL', 'th:claims', ARGV[1])
end
return #moved / 2
"""

_SET_TO_ZSET = """
if redis.call('TYPE', KEYS[1]).ok ~= 'set' then return end
local ids = redis.call('SMEMBERS', KEYS[1])
redis.call('DEL', KEYS[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], 0, id) end
"""


async def carry_over(store: DueQueue) -> int:
    """Makes the deliveries in lanes due members of their own; returns how many.

    Safe to run at any time and by several programs at once: each batch is one script, and a moved delivery has left
    its lane.
    """
    await leaving_to_zset(store)
    await polls_to_their_queue(store)
    moved = 0
    for old_due in OLD_DUE:
        for member in await store.redis.zrange(old_due, 0, -1):
            while batch := await _carry(store, member):
                moved += batch
    if moved:
        log.info("%d pending deliveries of an earlier version were carried over", moved)
        await store.redis.publish(keys.WAKE, "deliver")
    return moved


async def index_jobs(store: DueQueue) -> None:
    """Indexes the jobs of versions before 0.3, and those that programs of such a version have changed since.

    Does nothing if that was done lately, by this process or another one.
    """
    if await store.redis.exists(keys.INDEX_CHECKED):
        return
    total = 0
    for project in await store.redis.smembers(keys.PROJECTS):
        while (made := await Jobs(store).index(project)) is None:  # noqa: ASYNC110
            await asyncio.sleep(OTHER_SECONDS)
        if made:
            log.info("%d jobs of project %s were indexed", made, project)
            total += made
    await store.redis.set(keys.INDEX_CHECKED, 1, ex=CHECK_AGAIN_SECONDS if total else CHECK_SECONDS)


async def leaving_to_zset(store: Connection) -> None:
    """Turns the set of deleted files (version 0.1) into the zset of times; atomic, and safe to repeat."""
    await store.redis.eval(_SET_TO_ZSET, 1, keys.LEAVING)


async def polls_to_their_queue(store: Connection) -> None:
    """Moves polls that an older program made due beside all other steps."""
    async for poll, at in store.redis.zscan_iter(keys.due("steps"), match=poll_member("*"), count=BATCH):
        pipe = store.redis.pipeline()
        await pipe.zadd(keys.due(queue_of(poll)), {poll: at}, nx=True).zrem(keys.due("steps"), poll).execute()


async def is_in_lane(store: Connection, delivery: Delivery) -> bool:
    """Tells whether a delivery still waits to be carried over."""
    return await store.redis.zscore(f"th:lane:{delivery.lane}", delivery.id) is not None


async def _carry(store: Connection, member: str) -> int:
    receiver = member.partition(":")[2]
    names = [f"th:lane:{receiver}", keys.lease(member), f"th:lane-rest:{receiver}", keys.rest(receiver)]
    names += [keys.due("deliver"), *OLD_DUE]
    return int(await store.redis.eval(_CARRY, len(names), *names, member, receiver, BATCH))
