"""API keys as records, which hold hashes of the secrets."""

from __future__ import annotations

from contextlib import suppress

from redis.exceptions import WatchError

from tunehook.errors import RevisionChanged, StoreUnavailable
from tunehook.model.api_key import ApiKey
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue


class ApiKeys:
    def __init__(self, store: DueQueue) -> None:
        self._store = store
        self._noted: dict[str, str] = {}  #: key → the day of its last use that this process has written

    async def replace(self, before: ApiKey | None, after: ApiKey) -> ApiKey:
        """Writes `after` over `before` (None: a new key) and returns it: a revocation is never overwritten.

        Raises RevisionChanged when the key is not `before` any more.
        """
        key = keys.api_key(after.id)
        async with self._store.redis.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            document = await pipe.get(key)
            if (ApiKey.model_validate_json(document) if document else None) != before:
                raise RevisionChanged(record=f"The API key th_{after.id}_…")
            pipe.multi()
            pipe.set(key, after.model_dump_json(exclude_none=True))
            pipe.sadd(keys.API_KEYS, after.id)
            if after.project:
                pipe.sadd(keys.PROJECTS, after.project)
            try:
                await pipe.execute()
            except WatchError:
                raise RevisionChanged(record=f"The API key th_{after.id}_…") from None
        await self._store.confirm()
        return after

    async def first_encrypted(self, encrypted: str) -> str:
        """Returns the value of the first call ever made, which is kept."""
        await self._store.redis.set(keys.SEAL, encrypted, nx=True)
        return str(await self._store.redis.get(keys.SEAL))

    async def get(self, key_id: str) -> ApiKey | None:
        [document] = await self._store.ask(("GET", keys.api_key(key_id)))
        return ApiKey.model_validate_json(document) if document else None

    async def get_with_limits(self, key_id: str) -> tuple[ApiKey | None, str | None]:
        """Returns the key, and the version of all projects' limits, by one command."""
        [(document, version)] = await self._store.ask(("MGET", keys.api_key(key_id), keys.PROJECT_SETTINGS_VERSION))
        return ApiKey.model_validate_json(document) if document else None, version

    async def note_use(self, key_id: str, day: str) -> None:
        """Notes that the key was used on that day: one write a day and key. A Redis that takes none refuses nothing."""
        if self._noted.get(key_id) != day:
            self._noted[key_id] = day
            with suppress(StoreUnavailable):
                await self._store.redis.hset(keys.API_KEYS_USED, key_id, day)

    async def used(self) -> dict[str, str]:
        """Returns key → the day of its last use."""
        return dict(await self._store.redis.hgetall(keys.API_KEYS_USED))

    async def projects(self) -> list[str]:
        """Returns every project that ever had a key, a job or a webhook endpoint."""
        return sorted(await self._store.redis.smembers(keys.PROJECTS))

    async def all(self) -> list[ApiKey]:
        """Returns all keys, the oldest first."""
        ids = await self._store.redis.smembers(keys.API_KEYS)
        found = [key for key_id in ids if (key := await self.get(key_id)) is not None]
        return sorted(found, key=lambda key: (key.created_at, key.id))
