"""The core without processes: a World on a real Valkey and a simulated upstream, whose steps a test takes itself."""

import base64
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.clock import Clock
from tests.fakes.datasets import dataset
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import Valkey
from tunehook.context import Context, open_context
from tunehook.jobs import acceptance, copy_step, lifecycle, poller
from tunehook.model.file import File
from tunehook.model.job import FileRef, Job, JobSpec, Stage
from tunehook.model.member import QUEUES, queue_of
from tunehook.model.record import new_id
from tunehook.settings import Settings
from tunehook.store.engine import keys
from tunehook.store.jobs import JobRecord

SECRET_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
MODEL = "gpt-4.1-mini-2025-04-14"


@dataclass
class Bench:
    ctx: Context
    simulator: Simulator

    async def file(self, content: bytes | None = None) -> File:
        content = dataset() if content is None else content
        file_id = new_id("file-")
        sha256 = await self.ctx.files.storage.save(file_id, content)
        file = File(
            id=file_id,
            project="p",
            filename="train.jsonl",
            purpose="fine-tune",
            bytes=len(content),
            created_at=int(time.time()),
            sha256=sha256,
        )
        await self.ctx.store.files.add(file)
        return file

    async def accept(self, file: File | None = None, *, simulate: str | None = None, project: str = "p") -> str:
        """A job as `submit` leaves it; its id."""
        file = file or await self.file()
        metadata = {"simulate": simulate} if simulate else None
        job = Job(
            id=new_id("ftjob-"),
            project=project,
            key_id="k",
            created_at=int(time.time()),
            spec=JobSpec(model=MODEL, training_file=file.id, seed=1, metadata=metadata),
            upstream="openai",
            training=FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes),
        )
        await acceptance.accept(self.ctx, job, remember=[], recall=[])
        return job.id

    async def read(self, job_id: str) -> JobRecord:
        return await self.ctx.store.jobs.read(job_id)

    async def ten_seconds_after_429(self, job_id: str) -> None:
        """A create may follow now: the record says so, since Redis' clock cannot be moved."""
        record = await self.read(job_id)
        assert record.job.waiting is not None
        waiting = record.job.waiting.model_copy(update={"not_before": None})
        await self.ctx.store.commit(record.change(record.job.model_copy(update={"waiting": waiting})))

    async def stage(self, job_id: str) -> Stage:
        return (await self.read(job_id)).job.stage

    async def until_tracked(self, job_id: str) -> JobRecord:
        """As clock and workers would, but at once."""
        for _ in range(4):
            await lifecycle.advance(self.ctx, job_id)
            for file in (await self.read(job_id)).job.files:
                await copy_step.copy_to_upstream(self.ctx, "openai", file.sha256)
            if await self.stage(job_id) is Stage.TRACKED:
                return await self.read(job_id)
        raise AssertionError(f"it is {await self.read(job_id)}")

    async def ended(self, job_id: str) -> JobRecord:
        await self.simulator.advance(3600)
        await poller.poll(self.ctx, "openai")
        record = await self.read(job_id)
        assert record.job.stage is Stage.SETTLED, record
        return record

    async def due_in(self, member: str) -> float | None:
        """Seconds until it is due; None: never."""
        at = await self.ctx.store.redis.zscore(keys.due(queue_of(member)), member)
        return None if at is None else (float(at) - await self.ctx.store.now_ms()) / 1000

    async def claim(self) -> list[str]:
        found = [await self.ctx.store.claim(queue, 100) for queue in QUEUES]
        return [member for claimed in found for member in claimed.members]

    async def forgotten(self) -> Iterable[str]:
        """Unsettled jobs that nobody would ever look at again."""
        redis = self.ctx.store.redis
        for name in await redis.keys("th:job:*"):
            member = name.removeprefix("th:")
            if await redis.hget(name, "stage") != "settled" and await self.due_in(member) is None:
                return [member]
        return []


@pytest.fixture
async def bench(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Bench]:
    """Poll 30 s, settle 2 s. Nothing happens unless the test does it; the upstream's clock moves with `advance`."""
    start = time.time()
    async with running_simulator(clock=Clock(lambda: start), slots=0) as simulator:
        settings = Settings.model_validate(
            {
                "redis_url": valkey.url,
                "secret_key": SECRET_KEY,
                "openai_api_key": "sk-simulated",
                "openai_base_url": simulator.base_url,
                "data_dir": tmp_path / "data",
                "settle_seconds": 2,
            }
        )
        async with open_context(settings) as ctx:
            yield Bench(ctx, simulator)
