"""Snapshots: every record of the store, read at one moment, and written back.

They hold values by type and no dump of Redis' own, so that any version of Redis or Valkey can take them back. What RQ
keeps is left out, for due members are enqueued again, and so are leases and clocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tunehook.model.file import File
from tunehook.store.deletion import NEW
from tunehook.store.engine import keys
from tunehook.store.engine.scripts import Command
from tunehook.store.store import Store

#: (key, type, when it expires in unix ms or "0", value as Redis answers it, last id of a stream or "").
Entry = list[Any]
#: Of `maxmemory`: with more, an answer that holds everything could fill Redis.
LARGEST_SHARE = 0.4
FRESH_MS = 10_000
AT_ONCE = 200
_OWN = "th:*"


async def running(store: Store) -> str | None:
    """Returns in words which programs run on this store, or None."""
    tick = await store.redis.get(keys.CLOCK)
    if tick is not None and await store.now_ms() - int(tick) < FRESH_MS:
        return "a worker runs"
    for _ in range(3):  # a health check comes and goes
        clients = int((await store.redis.info("clients"))["connected_clients"])
        if clients <= 1:
            return None
        await asyncio.sleep(1)
    return f"{clients - 1} other clients are connected to Redis"


async def is_too_full(store: Store) -> bool:
    """Whether programs run, and there is no room in Redis for an answer that holds everything."""
    memory = await store.redis.info("memory")
    share = memory["used_memory"] / memory["maxmemory"] if memory.get("maxmemory") else 0.0
    return share > LARGEST_SHARE and await running(store) is not None


async def take(store: Store) -> AsyncIterator[list[Entry]]:
    """Yields all entries: at one moment if programs run, else in parts."""
    if await running(store):
        yield await store.run("snapshot", [], [])
        return
    names = {str(name) async for name in store.redis.scan_iter(match=_OWN, count=1000)}
    ordered = sorted(names)
    for start in range(0, len(ordered), AT_ONCE):
        yield await store.run("snapshot", ordered[start : start + AT_ONCE], [])


def file_in(entry: Entry) -> File | None:
    """Returns the file that an entry is the record of, if it is one."""
    name, kind, _, value, _ = entry
    if kind != "hash" or not name.startswith(keys.file("")):
        return None
    return File.model_validate_json(dict(zip(value[::2], value[1::2], strict=True))["doc"])


def is_record(entry: Entry) -> bool:
    """Whether the entry shows that the store was used: a job, a file or an API key."""
    return str(entry[0]).startswith((keys.job(""), keys.file(""), keys.api_key("")))


def seal_and_mark(entries: list[Entry]) -> tuple[str | None, str | None]:
    """Returns what tells whether the secret key fits, and the mark of the data directory if one bears it."""
    values = {str(entry[0]): entry[3] for entry in entries if entry[0] in (keys.SEAL, keys.STORAGE_MARK)}
    mark = values.get(keys.STORAGE_MARK)
    return values.get(keys.SEAL), None if mark is None or mark.startswith(NEW) else mark


async def is_empty(store: Store) -> bool:
    async for _ in store.redis.scan_iter(match=_OWN, count=1000):
        return False
    return True


async def clear(store: Store) -> None:
    """Deletes all keys of ours and RQ's."""
    for pattern in (_OWN, "rq:*"):
        names = [name async for name in store.redis.scan_iter(match=pattern, count=1000)]
        for start in range(0, len(names), AT_ONCE):
            await store.redis.unlink(*names[start : start + AT_ONCE])


async def put(store: Store, entries: list[Entry]) -> None:
    """Writes entries back; those that have expired meanwhile are left out."""
    now = await store.now_ms()
    alive = [entry for entry in entries if entry[2] == "0" or int(entry[2]) > now]
    answers = await store.send([command for entry in alive for command in _commands(entry)])
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _commands(entry: Entry) -> list[Command]:
    name, kind, expires, value, last = entry
    commands: list[Command]
    match kind:
        case "string":
            commands = [("SET", name, value)]
        case "hash":
            commands = [("HSET", name, *value)]
        case "set":
            commands = [("SADD", name, *value)]
        case "zset":
            commands = [("ZADD", name, *(part for pair in zip(value[1::2], value[::2], strict=True) for part in pair))]
        case "list":
            commands = [("RPUSH", name, *value)]
        case _:
            commands = [("XADD", name, entry_id, *fields) for entry_id, fields in value]
            # A stream that is empty still has a last id.
            commands = commands or [("XADD", name, "0-1", "x", "x"), ("XTRIM", name, "MAXLEN", 0)]
            commands.append(("XSETID", name, last))
    return commands if expires == "0" else [*commands, ("PEXPIREAT", name, expires)]
