"""Deployment records, and an index of them by job."""

from __future__ import annotations

from collections.abc import Iterable

from tunehook.errors import Conflict
from tunehook.model.deployment import OVER, Deployment, DeploymentStage
from tunehook.model.member import deployment_member
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.record import Stored


class DeploymentRecord(Stored[Deployment]):
    model = Deployment
    key = staticmethod(keys.deployment)

    @property
    def deployment(self) -> Deployment:
        return self.value

    @property
    def member(self) -> str:
        return deployment_member(self.value.id)

    def change(self, value: Deployment, lease: Lease | None = None) -> Change:
        """Returns the change into `value`, with its entry in the index of those that the vendor may bill."""
        change = super().change(value, lease)
        change.stage = value.stage
        if value.stage in OVER:
            return change.do("SREM", keys.DEPLOYMENTS, value.id).at(keys.DEPLOYMENTS_OVER, value.id, 0)
        return change.do("SADD", keys.DEPLOYMENTS, value.id).do("ZREM", keys.DEPLOYMENTS_OVER, value.id)


class Deployments:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def read(self, job_id: str) -> DeploymentRecord | None:
        """Returns the deployment of a job's model; None if none was ever asked for."""
        return await DeploymentRecord.read(self._store, job_id)

    async def delete(self, job_id: str) -> bool:
        """Deletes the record of a deployment that is over. Returns False for one that is not, or was asked for anew."""
        record = await self.read(job_id)
        if record is None:
            await self._store.redis.zrem(keys.DEPLOYMENTS_OVER, job_id)
            return True
        if record.value.stage not in OVER:
            return False
        try:
            await self._store.commit(record.deletion().do("ZREM", keys.DEPLOYMENTS_OVER, job_id))
        except Conflict:
            return False
        return True

    async def of_jobs(self, job_ids: Iterable[str]) -> dict[str, Deployment]:
        """Returns the deployments that there are, by job."""
        records = await DeploymentRecord.read_many(self._store, job_ids)
        return {record.value.id: record.value for record in records}

    async def live(self) -> list[Deployment]:
        """Returns those that the vendor may have, and may bill."""
        ids = sorted(await self._store.redis.smembers(keys.DEPLOYMENTS))
        return [record.value for record in await DeploymentRecord.read_many(self._store, ids)]

    async def running(self, job_id: str) -> Deployment | None:
        """Returns the deployment of a job's model if it runs."""
        record = await self.read(job_id)
        return record.value if record and record.value.stage is DeploymentStage.RUNNING else None
