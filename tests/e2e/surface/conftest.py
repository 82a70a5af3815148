"""One deployment for the whole surface: two simulated upstreams, of which `openai` posts its own webhooks to us."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import httpx2
import pytest
from openai import AsyncOpenAI

from tests.contract.checker import CheckedTransport, Contract
from tests.fakes.collector import Collector, running_collector
from tests.fakes.deployment import Caller, Deployment, deployment
from tests.fakes.ports import free_port
from tests.fakes.simulator import Simulator
from tunehook.security.signature import new_secret

FAST = ("--speed", "900", "--slots", "0", "--azure-deployed")


@dataclass(frozen=True)
class Place:
    town: Deployment
    upstream_secret: str  #: what `openai` signs its webhooks with
    collector: Collector

    @property
    def root(self) -> str:
        return self.town.url.removesuffix("/v1")


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Looks come once in five minutes here: what happens sooner, an upstream's webhook has brought about."""
    secret, port = new_secret(), free_port()
    hook = f"http://127.0.0.1:{port}/v1/upstreams/openai/events"
    telling = ("--webhook-url", hook, "--webhook-secret", secret)
    with (
        running_collector() as collector,
        deployment(
            tmp_path_factory.mktemp("surface"),
            simulators={"openai": (*FAST, *telling), "second": FAST},
            TUNEHOOK_PORT=str(port),
            TUNEHOOK_POLL_SECONDS="300",
            OPENAI_WEBHOOK_SECRET=secret,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="200",
        ) as town,
    ):
        yield Place(town, secret, collector)


@dataclass
class Visitor:
    """A project of its own in the deployment, through the official client and without it."""

    place: Place
    caller: Caller
    client: AsyncOpenAI
    http: aiohttp.ClientSession
    contract: Contract
    seen: list[tuple[str, str | None, int]]
    simulators: dict[str, Simulator]

    @property
    def root(self) -> str:
        return self.place.root


@pytest.fixture
async def visitor(place: Place, contract: Contract) -> AsyncIterator[Visitor]:
    caller = await place.town.key(f"surface-{secrets.token_hex(4)}")
    transport = CheckedTransport(contract)
    headers = {"authorization": f"Bearer {caller.key}"}
    async with (
        aiohttp.ClientSession() as outside,
        aiohttp.ClientSession(headers=headers) as http,
        AsyncOpenAI(
            base_url=place.town.url,
            api_key=caller.key,
            max_retries=2,  # a store that answers late is a 503, which an SDK repeats
            http_client=httpx2.AsyncClient(transport=transport, timeout=60.0),
        ) as client,
    ):
        simulators = {name: Simulator(root, outside) for name, root in place.town.simulators.items()}
        yield Visitor(place, caller, client, http, contract, transport.seen, simulators)
        for simulator in simulators.values():
            await simulator.clear_faults()
