"""One neighbour a kind of upstream: a real server that speaks as the vendor does, and what a test may ask of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from tests.fakes.fireworks import TUNABLE as FIREWORKS_MODEL
from tests.fakes.fireworks import running_fireworks
from tests.fakes.nebius import TUNABLE as NEBIUS_MODEL
from tests.fakes.nebius import running_nebius
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.together import TUNABLE as TOGETHER_MODEL
from tests.fakes.together import running_together
from tests.fakes.vendor_faults import FakeVendor
from tunehook.settings import KindName

Lost = Literal["before", "after"]


class Neighbour(Protocol):
    """`settings`: an upstream's, by their names in TUNEHOOK_UPSTREAMS__<NAME>__…. `model`: one that it trains."""

    settings: dict[str, str]
    model: str

    async def paid(self) -> int:
        """Returns how many jobs were created."""

    async def lose_create(self, when: Lost) -> None:
        """The next create's answer is lost, before or after the job was made."""

    async def refuse_create(self, status: int) -> None:
        """The next create is refused with this status."""

    async def say(self, status: str) -> bool:
        """All jobs get a status: `running`, `succeeded`, or one that is not known. Returns False if it cannot be."""

    async def without_key(self) -> None:
        """From now on, our key is refused."""


@dataclass
class Simulated:
    simulator: Simulator
    settings: dict[str, str]
    model: str = "gpt-4.1-mini-2025-04-14"

    async def paid(self) -> int:
        return len(await self.simulator.jobs())

    async def lose_create(self, when: Lost) -> None:
        await self.simulator.fault("reset" if when == "before" else "after_reset", path="/jobs$", method="POST")

    async def refuse_create(self, status: int) -> None:
        names = {400: "model_not_available", 401: "invalid_api_key", 402: "insufficient_quota", 429: "concurrent_jobs"}
        await self.simulator.fault(names[status], path="/jobs$", method="POST")

    async def say(self, status: str) -> bool:
        seconds = {"running": 40.0, "succeeded": 3600.0}.get(status)
        await self.simulator.advance(seconds or 0.0)
        return seconds is not None

    async def without_key(self) -> None:
        await self.simulator.fault("invalid_api_key", times=None)


@dataclass
class Faked:
    """A vendor's fake. `move`: gives all its jobs a status."""

    fake: FakeVendor
    settings: dict[str, str]
    model: str
    count: Callable[[], int]
    move: Callable[[str], None]

    async def paid(self) -> int:
        return self.count()

    async def lose_create(self, when: Lost) -> None:
        self.fake.goes_wrong("create job", "lost before" if when == "before" else "lost after")

    async def refuse_create(self, status: int) -> None:
        self.fake.goes_wrong("create job", self.fake.refusal(status, "Refused by the vendor"))

    async def say(self, status: str) -> bool:
        self.move(status)
        return True

    async def without_key(self) -> None:
        self.fake.key = "another"


@asynccontextmanager
async def openai() -> AsyncIterator[Neighbour]:
    async with running_simulator() as simulator:
        yield Simulated(simulator, {"kind": "openai", "base_url": simulator.base_url, "api_key": "sk-simulated"})


@asynccontextmanager
async def azure() -> AsyncIterator[Neighbour]:
    async with running_simulator() as simulator:
        yield Simulated(simulator, {"kind": "azure", "base_url": simulator.azure_url, "api_key": "az-simulated"})


@asynccontextmanager
async def fireworks() -> AsyncIterator[Neighbour]:
    async with running_fireworks() as fake:
        words = {"running": "JOB_STATE_RUNNING", "succeeded": "JOB_STATE_COMPLETED"}
        settings = {"kind": "fireworks", "base_url": fake.url, "api_key": fake.key, "account_id": fake.account}
        yield Faked(fake, settings, FIREWORKS_MODEL, lambda: len(fake.all_jobs()), _moved(fake.set_state, words))


@asynccontextmanager
async def nebius() -> AsyncIterator[Neighbour]:
    async with running_nebius() as fake:
        settings = {"kind": "nebius", "base_url": f"{fake.url}/v1", "api_key": fake.key}
        yield Faked(fake, settings, NEBIUS_MODEL, lambda: len(fake.jobs), _moved(fake.set_status, {}))


@asynccontextmanager
async def together() -> AsyncIterator[Neighbour]:
    async with running_together() as fake:
        settings = {"kind": "together", "base_url": f"{fake.url}/v1", "api_key": fake.key}
        words = {"succeeded": "completed"}
        yield Faked(fake, settings, TOGETHER_MODEL, lambda: len(fake.jobs), _moved(fake.set_status, words))


@asynccontextmanager
async def trainer() -> AsyncIterator[Neighbour]:
    """It speaks OpenAI's format as the simulator does; tests/integration/trainer has the real one."""
    async with running_simulator() as simulator:
        yield Simulated(simulator, {"kind": "trainer", "base_url": simulator.base_url, "api_key": "sk-simulated"})


def _moved(set_status: Callable[..., None], words: dict[str, str]) -> Callable[[str], None]:
    return lambda status: set_status(words.get(status, status))


NEIGHBOURS: dict[KindName, Callable[[], AbstractAsyncContextManager[Neighbour]]] = {
    "openai": openai,
    "azure": azure,
    "fireworks": fireworks,
    "nebius": nebius,
    "together": together,
    "trainer": trainer,
}
