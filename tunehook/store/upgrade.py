"""Upgrade: carries over what an earlier version stored in another form. Run at the start of every program."""

from __future__ import annotations

from tunehook.store.engine import keys
from tunehook.store.engine.connection import Connection

_SET_TO_ZSET = """
if redis.call('TYPE', KEYS[1]).ok ~= 'set' then return end
local ids = redis.call('SMEMBERS', KEYS[1])
redis.call('DEL', KEYS[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], 0, id) end
"""


async def leaving_to_zset(store: Connection) -> None:
    """Turns the set of deleted files (version 0.1) into the zset of times; atomic, and safe to repeat."""
    await store.redis.eval(_SET_TO_ZSET, 1, keys.LEAVING)
