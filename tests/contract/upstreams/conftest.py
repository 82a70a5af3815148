"""A deployment whose one upstream is of the kind under test: API, client, receiver; a test takes the steps itself."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from service.app import build_app
from tests.contract.checker import CheckedTransport, Contract
from tests.contract.upstreams.neighbours import NEIGHBOURS, Neighbour
from tests.fakes.context import SECRET_KEY
from tests.fakes.datasets import dataset
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.context import Context, open_context
from tunehook.files import Files, ingest
from tunehook.jobs import copy_step, cost, deploying, lifecycle, model_ready, poller
from tunehook.model.member import job_member, poll_member
from tunehook.settings import KIND_NAMES, KindName, Settings
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import dispatch

NAME = "place"
SETTLE_SECONDS = 1.0


@dataclass
class Deployed:
    kind: KindName
    ctx: Context
    client: AsyncOpenAI
    neighbour: Neighbour
    receiver: Receiver
    secret: str

    async def create(self, **members: Any) -> FineTuningJob:
        file = await self.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        extra = {"callback_url": self.receiver.url, **members}
        return await self.client.fine_tuning.jobs.create(
            model=self.neighbour.model, training_file=file.id, extra_body=extra
        )

    async def work(self) -> None:
        """Does what is due, as the clock and workers would, until nothing is."""
        while members := [
            member for queue in ("steps", "bulk") for member in (await self.ctx.store.claim(queue, 10)).members
        ]:
            for member in members:
                match member.partition(":"):
                    case ("job", _, job_id):
                        await lifecycle.advance(self.ctx, job_id)
                    case ("copy", _, rest):
                        name, _, sha256 = rest.rpartition(":")
                        await copy_step.copy_to_upstream(self.ctx, name, sha256)
                    case ("deployment", _, job_id):
                        await deploying.advance(self.ctx, job_id)
                    case ("ready", _, job_id):
                        await model_ready.ask_until_ready(self.ctx, job_id)
                    case ("check", _, file_id):
                        await ingest.check_stored(self.ctx.files, file_id)
                    case ("estimate", _, job_id):
                        await cost.estimate_accepted(self.ctx, job_id)
        await dispatch.dispatch(self.ctx.webhooks)

    async def poll(self) -> None:
        await self.ctx.store.plan(poll_member(NAME), 0)
        await poller.poll(self.ctx, NAME)
        await self.work()

    async def until(self, job_id: str, stage: str, seconds: float = 60.0) -> JobRecord:
        """Works until the job has that stage, its next step taken at once."""
        until = time.monotonic() + seconds
        while (record := await self.ctx.store.jobs.read(job_id)).job.stage != stage:
            assert time.monotonic() < until, record
            await self.ctx.store.plan(job_member(job_id), 0.0)
            await self.work()
            await asyncio.sleep(0.05)
        return record


@asynccontextmanager
async def deployment(
    kind: KindName, neighbour: Neighbour, valkey: Valkey, directory: Path, **more: object
) -> AsyncIterator[Deployed]:
    """`more`: further settings."""
    contract = Contract.load()
    async with running_receiver() as receiver:
        found = {
            "redis_url": valkey.url,
            "data_dir": directory,
            "secret_key": SECRET_KEY,
            "webhook_allow": "127.0.0.1",
            "settle_seconds": SETTLE_SECONDS,
            "upstreams": {NAME: neighbour.settings},
            **more,
        }
        settings = Settings.model_validate(found)
        async with open_context(settings, make_files=Files.of_step) as ctx, TestServer(build_app(ctx)) as server:
            key, secret = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="p", name="n")
            http = httpx2.AsyncClient(transport=CheckedTransport(contract), timeout=30.0)
            url = str(server.make_url("/v1"))
            async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http) as client:
                yield Deployed(kind, ctx, client, neighbour, receiver, secret)


@pytest.fixture(params=KIND_NAMES)
async def deployed(
    request: pytest.FixtureRequest, valkey: Valkey, tmp_path: Path, contract: Contract
) -> AsyncIterator[Deployed]:
    kind: KindName = request.param
    async with NEIGHBOURS[kind]() as neighbour, deployment(kind, neighbour, valkey, tmp_path) as found:
        yield found
