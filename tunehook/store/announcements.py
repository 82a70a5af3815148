"""Announcements: what was published last about subjects without a record of their own."""

from __future__ import annotations

from contextlib import suppress

from tunehook.errors import Conflict
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue

KEPT_SECONDS = 400 * 24 * 3600


class Announcements:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def once(self, subject: str, value: str, *, keep: int) -> Change | None:
        """Returns the change that announces `value` of `subject`; None if that was the last announcement.

        Of two processes that announce it at the same time one commit is refused. Remembered for `keep` seconds.
        """
        key = keys.announced(subject)
        announced, revision = await self._store.redis.hmget(key, "doc", "rev")
        if announced == value:
            return None
        return Change(record=key, revision=int(revision or 0), document=value).do("EXPIRE", key, keep)

    async def keep(self, subject: str, seconds: int) -> None:
        """Remembers an announcement for `seconds` from now."""
        await self._store.redis.expire(keys.announced(subject), seconds)

    async def commit(self, change: Change) -> None:
        """Commits an announcement, unless another process has just made it."""
        with suppress(Conflict):
            await self._store.commit(change)
