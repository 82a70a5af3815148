"""API keys. Only hashes of their secrets are kept."""

from __future__ import annotations

from redis.exceptions import WatchError

from tunehook.errors import RevisionChanged
from tunehook.model.api_key import ApiKey
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue


class ApiKeys:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

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
            pipe.sadd(keys.PROJECTS, after.project)
            try:
                await pipe.execute()
            except WatchError:
                raise RevisionChanged(record=f"The API key th_{after.id}_…") from None
        return after

    async def first_encrypted(self, sealed: str) -> str:
        """What was given at the first call ever."""
        await self._store.redis.set(keys.SEAL, sealed, nx=True)
        return str(await self._store.redis.get(keys.SEAL))

    async def get(self, key_id: str) -> ApiKey | None:
        [document] = await self._store.ask(("GET", keys.api_key(key_id)))
        return ApiKey.model_validate_json(document) if document else None

    async def projects(self) -> list[str]:
        """Every project that has ever had a key, a job or a subscription."""
        return sorted(await self._store.redis.smembers(keys.PROJECTS))

    async def all(self) -> list[ApiKey]:
        """By age."""
        ids = await self._store.redis.smembers(keys.API_KEYS)
        found = [key for key_id in ids if (key := await self.get(key_id)) is not None]
        return sorted(found, key=lambda key: (key.created_at, key.id))
