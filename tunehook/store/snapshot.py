"""Snapshots: every record of the store, read at one moment, and written back.

They hold values by type and no dump of Redis' own, so that any version of Redis or Valkey can take them back. What RQ
keeps is left out, for due members are enqueued again, and so are leases and clocks.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from tunehook.errors import StoreRefused
from tunehook.model.file import File
from tunehook.model.job import Stage
from tunehook.store.deletion import NEW
from tunehook.store.engine import keys
from tunehook.store.engine.scripts import Command
from tunehook.store.store import Store

#: (key, type, when it expires in unix ms or "0", value as Redis answers it, last id of a stream or "").
Entry = list[Any]
#: An entry whose value is JSON text: as lists, a store takes three times its size.
Packed = list[str]
#: In place of the seal until a restore is complete: no program starts on half a store.
RESTORING = "a restore is not complete"
#: Of `maxmemory`: with more, an answer that holds everything could fill Redis.
LARGEST_SHARE = 0.4
FRESH_MS = 10_000
#: The channel that each Sentinel subscribes to; it sends commands by a second connection.
SENTINELS = "__sentinel__:hello"
#: One of the answers of `running`.
WORKER = "a worker runs"
AT_ONCE = 200
#: The stages of a job that the upstream may have by the time of a restore, unknown to the snapshot.
_UNPLACED = frozenset({Stage.ACCEPTED, Stage.UPLOADING, Stage.CREATING, Stage.WAITING})


async def running(store: Store) -> str | None:
    """Returns in words which programs run on this store, or None. Sentinels are none."""
    tick = await store.redis.get(keys.CLOCK)
    if tick is not None and await store.now_ms() - int(tick) < FRESH_MS:
        return WORKER
    for _ in range(3):  # a health check comes and goes
        clients = int((await store.redis.info("clients"))["connected_clients"])
        [(_, sentinels)] = await store.redis.pubsub_numsub(SENTINELS)
        clients -= 2 * int(sentinels)
        if clients <= 1:
            return None
        await asyncio.sleep(1)
    return f"{clients - 1} other clients are connected to Redis"


async def is_too_full(store: Store) -> bool:
    """Whether programs run, and there is no room in Redis for an answer that holds everything."""
    return await store.redis_health.used() > LARGEST_SHARE and await running(store) is not None


async def holds(store: Store, *prefixes: str) -> bool:
    """Whether a key begins with one of the prefixes, but for the one by which replicas are asked."""
    async for name in store.redis.scan_iter(match=keys.OWN, count=1000):
        if str(name).startswith(prefixes) and name != keys.CONFIRMED:
            return True
    return False


async def is_used(store: Store) -> bool:
    """Whether the store has a job, a file or an API key."""
    return await holds(store, keys.job(""), keys.file(""), keys.api_key(""))


async def has_files(store: Store) -> bool:
    return await holds(store, keys.file(""))


async def is_empty(store: Store) -> bool:
    return not await holds(store, "")


async def take(store: Store) -> AsyncIterator[list[Packed]]:
    """Yields all entries: at one moment if programs run, else in parts."""
    if await running(store):
        yield await store.run("snapshot", [], [])
        return
    names = {str(name) async for name in store.redis.scan_iter(match=keys.OWN, count=1000)}
    ordered = sorted(names)
    for start in range(0, len(ordered), AT_ONCE):
        yield await store.run("snapshot", ordered[start : start + AT_ONCE], [])


def text(entry: Packed) -> str:
    """Returns the JSON text of an entry."""
    name, kind, expires, value, last = entry
    return f"[{json.dumps(name)}, {json.dumps(kind)}, {json.dumps(expires)}, {value}, {json.dumps(last)}]"


def file_in(entry: Packed) -> File | None:
    """Returns the file that an entry is the record of, if it is one."""
    name, kind, _, value, _ = entry
    if kind != "hash" or not name.startswith(keys.file("")):
        return None
    members = json.loads(value)
    return File.model_validate_json(dict(zip(members[::2], members[1::2], strict=True))["doc"])


def check(entries: Iterable[Entry]) -> tuple[int, str | None, str | None]:
    """Returns how many there are, the seal of the secret key, and the mark of the data directory if one bears it.

    Raises ValueError, TypeError or LookupError for what is no entry of ours, before any is written.
    """
    values: dict[str, str] = {}
    count = 0
    for entry in entries:
        count += 1
        if not entry[0].startswith(keys.OWN[:-1]):
            raise ValueError(f"no record of ours is called {entry[0][:80]!r}")
        int(entry[2]), _commands(_doubted(entry))
        if entry[0] in (keys.SEAL, keys.STORAGE_MARK):
            values[entry[0]] = entry[3]
    mark = values.get(keys.STORAGE_MARK)
    return count, values.get(keys.SEAL), None if mark is None or mark.startswith(NEW) else mark


async def begin_restore(store: Store) -> None:
    """From now on, no program starts on this store."""
    await _write(store, [("SET", keys.SEAL, RESTORING)])


async def end_restore(store: Store, seal: str | None) -> None:
    await _write(store, [("SET", keys.SEAL, seal) if seal else ("DEL", keys.SEAL)])


async def is_half_restored(store: Store) -> bool:
    return bool(await store.redis.get(keys.SEAL) == RESTORING)


async def clear(store: Store) -> None:
    """Deletes all keys of ours but the seal. RQ's stay: another program may use RQ on this Redis."""
    names = [name async for name in store.redis.scan_iter(match=keys.OWN, count=1000) if name != keys.SEAL]
    for start in range(0, len(names), AT_ONCE):
        await store.redis.unlink(*names[start : start + AT_ONCE])


async def put(store: Store, entries: list[Entry]) -> None:
    """Writes back entries that have not expired meanwhile, but not the seal. Raises StoreRefused.

    A job that was not at its upstream yet may have been created since: it is searched for before it is created.
    """
    now = await store.now_ms()
    alive = [entry for entry in entries if entry[0] != keys.SEAL and (entry[2] == "0" or int(entry[2]) > now)]
    await _write(store, [command for entry in alive for command in _commands(_doubted(entry))])


async def _write(store: Store, commands: list[Command]) -> None:
    for answer in await store.send(commands):
        if isinstance(answer, Exception):
            raise StoreRefused(why=str(answer)) from answer


def _doubted(entry: Entry) -> Entry:
    name, kind, expires, value, last = entry
    if kind != "hash" or not name.startswith(keys.job("")):
        return entry
    fields = dict(zip(value[::2], value[1::2], strict=True))
    if fields.get("stage") not in _UNPLACED or "doc" not in fields:
        return entry
    try:
        job = json.loads(fields["doc"])
        job.setdefault("doubtful_since", job["created_at"])
    except (ValueError, LookupError, TypeError, AttributeError):  # it cannot be read, and no step will create it
        return entry
    fields["doc"] = json.dumps(job, ensure_ascii=False, separators=(",", ":"))  # claim.lua reads how it begins
    return [name, kind, expires, [part for pair in fields.items() for part in pair], last]


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
