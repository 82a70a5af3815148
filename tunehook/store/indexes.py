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

    Each id has a place of its own in an index (`list_in`). Begins with the first if `after` is not in the index.
    Walks the shortest index to its end if need be: a page that broke off before it could be empty though more follow,
    and clients take an empty page for the last.
    """
    redis = store.redis
    if len(names) > 1:
        lengths = await store.read(("ZCARD", name) for name in names)
        names = [name for _, name in sorted(zip(lengths, names, strict=True))]
    shortest, *others = names
    size = SCAN if others else at_once
    begin, end = ("-inf", "+inf") if ascending else ("+inf", "-inf")
    if after is not None and (place := await redis.zscore(shortest, after)) is not None:
        begin = f"({place!r}"
    while True:
        rows = await redis.zrange(
            shortest, begin, end, desc=not ascending, byscore=True, offset=0, num=size, withscores=True
        )
        fitting = await _in_all(store, others, [str(member) for member, _ in rows])
        for first in range(0, len(fitting), at_once):
            yield fitting[first : first + at_once]
        if len(rows) < size:
            return
        begin = f"({rows[-1][1]!r}"  # by place, not by rank: ranks change when others come and go


async def _in_all(store: DueQueue, names: list[str], ids: list[str]) -> list[str]:
    if not names or not ids:
        return ids
    rows = await store.read(("ZMSCORE", name, *ids) for name in names)
    return [member for member, *scores in zip(ids, *rows, strict=True) if None not in scores]
