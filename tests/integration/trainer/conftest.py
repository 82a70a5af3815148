"""A trainer, and OpenAI's own client for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.fine_tuning import FineTuningJob

from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.trainer import BASE, Trainer, running_trainer, until
from tests.fakes.valkey import Valkey
from tests.integration.simulator.conftest import dataset
from tunehook.security.tls import ssl_context


class Bench:
    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        http = DefaultAsyncHttpxClient(verify=ssl_context())
        self.client = AsyncOpenAI(base_url=self.trainer.base_url, api_key="k", max_retries=0, http_client=http)

    async def upload(self, examples: int = 12) -> str:
        sent = await self.client.files.create(file=("train.jsonl", dataset(examples)), purpose="fine-tune")
        return sent.id

    async def create(self, **members: object) -> FineTuningJob:
        body = {"model": BASE, "training_file": members.pop("training_file", None) or await self.upload(), **members}
        return await self.client.post("/fine_tuning/jobs", body=body, cast_to=FineTuningJob)

    async def until(self, job_id: str, *statuses: str) -> FineTuningJob:
        """Waits until a job has one of these statuses."""
        return await until(lambda: self.client.fine_tuning.jobs.retrieve(job_id), lambda job: job.status in statuses)

    async def told(self, job_id: str) -> list[str]:
        """Returns a job's messages, oldest first."""
        events = [event.message async for event in self.client.fine_tuning.jobs.list_events(job_id, limit=100)]
        return events[::-1]

    async def steps(self, job_id: str) -> list[int]:
        """Returns the steps that metrics were told of, oldest first."""
        events = [event async for event in self.client.fine_tuning.jobs.list_events(job_id, limit=100)]
        return [event.data["step"] for event in reversed(events) if event.type == "metrics" and event.data]  # type: ignore[index]

    async def at_step(self, job_id: str, step: int) -> None:
        await until(lambda: self.steps(job_id), lambda steps: bool(steps) and steps[-1] >= step)


@pytest.fixture
async def bench(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_trainer(tmp_path / "trainer", valkey.url) as trainer:
        found = Bench(trainer)
        with nothing_blocks():
            yield found
        await found.client.close()
