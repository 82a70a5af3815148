"""Fine-tuned models: known by name for longer than the jobs that made them."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Collection

from pydantic import ValidationError

from tunehook.errors import ModelNotFound
from tunehook.model.job import FileRef, Job, TunedModel
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import Reading
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)

_FILE_IDS = re.compile(r'"(file-[^"]*)"')


class Models:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    def name(self, change: Change, job: Job, model: str) -> Change:
        """Adds a model to the change that ends its job."""
        made = TunedModel(
            name=model,
            upstream=job.upstream,
            base=(job.seen.model if job.seen else "") or job.spec.model,
            job_id=job.id,
            created_at=(job.seen and job.seen.finished_at) or job.settled_at or job.created_at,
            training_file=_ours(job.training),
            validation_file=_ours(job.validation),
            method=(job.seen and job.seen.method) or job.spec.method,
            hyperparameters=(job.seen and job.seen.hyperparameters) or job.spec.hyperparameters,
            suffix=job.spec.suffix,
        )
        if model != made.base:
            change.do("HSET", keys.MODEL_OWNERS, model, job.project)
        change.do("ZADD", keys.models_by_age(job.project), -made.created_at, model)
        return change.do("HSET", keys.models(job.project), model, made.model_dump_json(exclude_none=True))

    async def forget(self, project: str, model: str) -> None:
        """Forgets a model that was deleted at its upstream: it is as unknown as any other. Safe to repeat."""
        pipe = self._store.redis.pipeline().hdel(keys.models(project), model)
        await pipe.zrem(keys.models_by_age(project), model).hdel(keys.MODEL_OWNERS, model).execute()
        await self._store.confirm()

    async def owners(self, models: list[str]) -> list[str | None]:
        """Returns for each model the project whose job made it or was imported; None for any other model."""
        if not models:
            return []
        [found] = await self._store.ask(*self.reading_owners(models))
        return [whole or of_checkpoint for whole, of_checkpoint in zip(found[::2], found[1::2], strict=True)]

    @staticmethod
    def reading_owners(models: list[str]) -> Reading:
        """Returns the commands of `owners`: a checkpoint belongs to the owner of its model."""
        names = [name for model in models for name in (model, model.partition(":ckpt-")[0])]
        return (("HMGET", keys.MODEL_OWNERS, *names),)

    async def owner(self, model: str) -> str | None:
        """Returns the owner of one model."""
        return (await self.owners([model]))[0]

    async def find(self, model: str, project: str) -> TunedModel | None:
        """Returns a model by its name or the name of a checkpoint of it (`…:ckpt-step-90`)."""
        [found] = await self._store.ask(("HMGET", keys.models(project), model, model.partition(":ckpt-")[0]))
        document = next((document for document in found if document), None)
        return TunedModel.model_validate_json(document) if document else None

    async def page(self, project: str, *, after: str | None, limit: int) -> tuple[list[TunedModel], bool]:
        """Returns the project's models, newest first, and whether there are more.

        Raises ModelNotFound for an unknown `after`.
        """
        names, by_age = keys.models(project), keys.models_by_age(project)
        known, listed = await self._store.ask(("HLEN", names), ("ZCARD", by_age))
        if int(listed) < int(known):
            await self._list(project)
        rank = -1 if after is None else await self._store.redis.zrank(by_age, after)
        if rank is None:
            raise ModelNotFound(id=after, param="model")
        found = await self._store.redis.zrange(by_age, rank + 1, rank + 1 + limit)
        documents = await self._store.redis.hmget(names, found[:limit]) if found[:limit] else []
        rows = [_read(name, document) for name, document in zip(found, documents, strict=False) if document]
        return [made for made in rows if made], len(found) > limit

    async def _list(self, project: str) -> None:
        """Adds the models that an earlier version recorded, which kept no order. Safe to repeat."""
        async for batch in self._batches(project):
            read = {name: _read(name, document) for name, document in batch.items()}
            ages = {name: -made.created_at if made else 0 for name, made in read.items()}
            await self._store.redis.zadd(keys.models_by_age(project), ages)

    async def of_project(self, project: str) -> list[TunedModel]:
        """Returns the project's models, newest first."""
        found = [made async for batch in self._batches(project) for row in batch.items() if (made := _read(*row))]
        return sorted(found, key=lambda made: (-made.created_at, made.name))

    async def trained_on(self, project: str, file_ids: Collection[str]) -> AsyncIterator[TunedModel]:
        """Yields the models that were trained on one of the files. Only their records are parsed: there may be many."""
        wanted = frozenset(file_ids)
        async for batch in self._batches(project):
            for name, document in batch.items():
                if not wanted.isdisjoint(_FILE_IDS.findall(document)) and (made := _read(name, document)):
                    yield made

    async def _batches(self, project: str) -> AsyncIterator[dict[str, str]]:
        """Yields names and documents, about 1,000 at a time: models are kept for ever."""
        cursor = 0
        while True:
            cursor, batch = await self._store.redis.hscan(keys.models(project), cursor, count=1000)
            if batch:
                yield batch
            if not cursor:
                return


def _ours(file: FileRef | None) -> str | None:
    return file.id if file is not None and file.upstream_id is None else None


def _read(name: str, document: str) -> TunedModel | None:
    """Returns None for a record that cannot be read: it hides no others."""
    try:
        return TunedModel.model_validate_json(document)
    except ValidationError as error:
        log.warning("left out: model %s cannot be read: %s", name, error)
        return None
