"""A simulated upstream on a free port, in the test's own loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from simulator.app import build_app
from simulator.clock import Clock
from simulator.settings import Config
from tests.fakes.serving import serving


class Simulator:
    """Its control endpoints, as methods. URLs end in /v1."""

    def __init__(self, root: str, session: aiohttp.ClientSession) -> None:
        self.root = root
        self.base_url = f"{root}/v1"
        self.azure_url = f"{root}/openai/v1"
        self._session = session

    async def _get(self, path: str) -> list[dict[str, object]]:
        async with self._session.get(f"{self.root}/simulator/{path}") as answer:
            answer.raise_for_status()
            found: list[dict[str, object]] = (await answer.json())["data"]
            return found

    async def _post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        async with self._session.post(f"{self.root}/simulator/{path}", json=body) as answer:
            found: dict[str, object] = await answer.json()
            if not answer.ok:
                raise AssertionError(f"the simulator refuses {body}: {found}")
            return found

    async def jobs(self) -> list[dict[str, object]]:
        """Everything created, oldest first, whether anybody can see it yet or not."""
        return await self._get("jobs")

    async def requests(self) -> list[dict[str, object]]:
        """Every API request so far: at, method, path (with query), status, fault, retry, body."""
        return await self._get("requests")

    async def fault(
        self,
        name: str,
        *,
        path: str = "",
        method: str | None = None,
        times: int | None = 1,
        seconds: float | None = None,
    ) -> None:
        """Let requests that match go wrong; `times=None`: until `clear_faults`."""
        body: dict[str, object] = {"fault": name, "path": path, "method": method, "times": times}
        await self._post("faults", {**body, "seconds": seconds})

    async def clear_faults(self) -> None:
        async with self._session.delete(f"{self.root}/simulator/faults") as answer:
            answer.raise_for_status()

    async def advance(self, seconds: float) -> None:
        """Skip so many seconds of the simulator's clock (training goes `speed` times as far)."""
        await self._post("clock", {"advance": seconds})


@asynccontextmanager
async def running_simulator(*, clock: Clock | None = None, **config: object) -> AsyncIterator[Simulator]:
    """`config` as simulator.settings.Config; `clock=Clock(lambda: 1.8e9)` stands still but for `advance`."""
    app = build_app(Config.model_validate({"port": 0, **config}), clock)
    async with serving(app) as root, aiohttp.ClientSession() as session:
        yield Simulator(root, session)
