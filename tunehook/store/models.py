"""Fine-tuned models: known by name for longer than the jobs that made them."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from tunehook.model.job import Job, TunedModel
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue

log = logging.getLogger(__name__)


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
        )
        if model != made.base:
            change.do("HSET", keys.MODEL_OWNERS, model, job.project)
        return change.do("HSET", keys.models(job.project), model, made.model_dump_json(exclude_none=True))

    async def owner(self, model: str) -> str | None:
        """Returns the project whose job made the model, or imported that job; None for any other model."""
        found = await self._store.redis.hmget(keys.MODEL_OWNERS, [model, model.partition(":ckpt-")[0]])
        return next((str(project) for project in found if project), None)

    async def find(self, model: str, project: str) -> TunedModel | None:
        """Returns a model by its name or the name of a checkpoint of it (`…:ckpt-step-90`)."""
        found = await self._store.redis.hmget(keys.models(project), [model, model.partition(":ckpt-")[0]])
        document = next((document for document in found if document), None)
        return TunedModel.model_validate_json(document) if document else None

    async def of_project(self, project: str) -> list[TunedModel]:
        """Returns the project's models, newest first."""
        documents = await self._store.redis.hgetall(keys.models(project))
        found = []
        for name, document in documents.items():
            try:
                found.append(TunedModel.model_validate_json(document))
            except ValidationError as error:  # a bad record hides no others
                log.warning("left out: model %s cannot be read: %s", name, error)
        return sorted(found, key=lambda made: (-made.created_at, made.name))
