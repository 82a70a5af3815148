"""The servers of ours that speak OpenAI's API: the simulator and the trainer. Each test runs against both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.fakes.simulator import running_simulator
from tests.fakes.trainer import BASE, running_trainer
from tests.fakes.valkey import Valkey
from tests.integration.simulator.conftest import dataset
from tunehook.security.tls import ssl_context

SERVERS = ("simulator", "trainer")
MODEL = "MODEL"  #: in a body: one that the server trains


@dataclass
class Server:
    kind: str
    base_url: str
    client: AsyncOpenAI
    model: str

    async def upload(self, data: bytes | None = None) -> str:
        sent = dataset() if data is None else data
        return (await self.client.files.create(file=("train.jsonl", sent), purpose="fine-tune")).id


@asynccontextmanager
async def running(kind: str, directory: Path, redis_url: str, keys: list[str] | None = None) -> AsyncIterator[Server]:
    """A server of that kind. The simulator's jobs take minutes, and the trainer has no worker: none ends here."""
    http = DefaultAsyncHttpxClient(verify=ssl_context())
    async with AsyncOpenAI(base_url="http://unset", api_key="k", max_retries=0, http_client=http) as client:
        if kind == "simulator":
            async with running_simulator(slots=0, keys=keys or []) as simulator:
                client.base_url = simulator.base_url
                yield Server(kind, simulator.base_url, client, "gpt-4.1-mini-2025-04-14")
        else:
            async with running_trainer(directory, redis_url, keys=",".join(keys or [])) as trainer:
                client.base_url = trainer.base_url
                yield Server(kind, trainer.base_url, client, BASE)


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, valkey: Valkey, tmp_path: Path) -> AsyncIterator[Server]:
    async with running(request.param, tmp_path / "data", valkey.url) as found:
        yield found
