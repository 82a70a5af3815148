"""Walks indexes (zsets): finds the ids that are in all of several, without reading a record."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tunehook.store.engine.due_queue import DueQueue

#: So many ids are read and compared in a round trip.
SCAN = 500


async def common(
    store: DueQueue, names: list[str], *, after: str | None, at_once: int, ascending: bool = False
) -> AsyncIterator[list[str]]:
    """Yields the ids behind `after`, up to `at_once` at a time, newest first.

    Begins with the first if `after` is not in the index. Walks the shortest index to its end if need be: a page that
    broke off before it could be empty though more follow, and clients take an empty page for the last.
    """
    redis = store.redis
    if len(names) > 1:
        lengths = await store.read(("ZCARD", name) for name in names)
        names = [name for _, name in sorted(zip(lengths, names, strict=True))]
    shortest, *others = names
    size, start = (SCAN if others else at_once), 0
    if after is not None:
        rank = await (redis.zrank if ascending else redis.zrevrank)(shortest, after)
        start = 0 if rank is None else int(rank) + 1
    while True:
        ids = await redis.zrange(shortest, start, start + size - 1, desc=not ascending)
        fitting = await _in_all(store, others, ids)
        for first in range(0, len(fitting), at_once):
            yield fitting[first : first + at_once]
        if len(ids) < size:
            return
        start += len(ids)


async def _in_all(store: DueQueue, names: list[str], ids: list[str]) -> list[str]:
    if not names or not ids:
        return ids
    rows = await store.read(("ZMSCORE", name, *ids) for name in names)
    return [member for member, *scores in zip(ids, *rows, strict=True) if None not in scores]
