"""A simulator whose clock stands still, and OpenAI's own client for it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from simulator.clock import Clock
from tests.fakes.simulator import Simulator, running_simulator
from tunehook.security.tls import ssl_context

START = 1_800_000_000.0


def dataset(examples: int = 12) -> bytes:
    birds = ["heron", "wren", "owl", "kite", "swift", "crane"]
    lines = [
        {
            "messages": [
                {"role": "system", "content": "You are a birdwatcher."},
                {"role": "user", "content": f"Where does {birds[n % 6]} number {n} sleep?"},
                {"role": "assistant", "content": f"In nest {n}, like any {birds[n % 6]}."},
            ]
        }
        for n in range(examples)
    ]
    return "\n".join(json.dumps(line) for line in lines).encode()


class Bench:
    """One simulator, one client of each dialect."""

    def __init__(self, simulator: Simulator, client: AsyncOpenAI, azure: AsyncOpenAI) -> None:
        self.simulator = simulator
        self.client = client
        self.azure = azure

    async def upload(self, data: bytes | None = None, *, azure: bool = False) -> str:
        client = self.azure if azure else self.client
        sent = dataset() if data is None else data
        return (await client.files.create(file=("train.jsonl", sent), purpose="fine-tune")).id


Start = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def start() -> Start:
    """`async with start(slots=1) as bench`: members of simulator.settings.Config."""

    @asynccontextmanager
    async def starting(**config: object) -> AsyncIterator[Bench]:
        async with running_simulator(clock=Clock(lambda: START), **config) as simulator:
            http = DefaultAsyncHttpxClient(verify=ssl_context())
            client = AsyncOpenAI(base_url=simulator.base_url, api_key="sk-test", max_retries=0, http_client=http)
            azure = client.with_options(base_url=simulator.azure_url, api_key="az-test")
            async with client:
                yield Bench(simulator, client, azure)

    return starting


@pytest.fixture
async def bench(start: Start) -> AsyncIterator[Bench]:
    async with start() as found:
        yield found
