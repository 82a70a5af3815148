"""What has been told, for things that have no record of their own to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunehook.store import keys
from tunehook.store.commit import Change
from tunehook.store.connection import unavailable

if TYPE_CHECKING:
    from tunehook.store.store import Store


class Tellings:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def once(self, what: str, value: str, *, keep: int) -> Change | None:
        """The change that goes with telling `value` of `what`; None if just that has been told.

        Of two who tell at the same time one commit is refused. Remembered for `keep` seconds.
        """
        key = keys.told(what)
        with unavailable():
            told, revision = await self._store.redis.hmget(key, "doc", "rev")
        if told == value:
            return None
        return Change(record=key, revision=int(revision or 0), document=value).do("EXPIRE", key, keep)

    async def keep(self, what: str, seconds: int) -> None:
        with unavailable():
            await self._store.redis.expire(keys.told(what), seconds)
