"""One deployment whose prices are its operator's own; a client of each test's own project."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2
import pytest
from openai import AsyncOpenAI

from tests.contract.checker import CheckedTransport, Contract
from tests.fakes.deployment import Deployment, deployment
from tests.fakes.patience import eventually

MODEL = "gpt-4.1-mini-2025-04-14"
#: 4 dollars for a million tokens, which nobody else asks.
PRICES = {
    "prices": [
        {"model": "gpt-4.1-mini", "usd_per_million_tokens": 4, "as_of": "2026-11-01", "source": "our contract"},
        {"model": "o4-mini", "methods": ["reinforcement"], "usd_per_hour": 100, "as_of": "2026-11-01"},
    ]
}


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("datasets")
    prices = directory / "prices.json"
    prices.write_text(json.dumps(PRICES))
    fast = ("--speed", "900", "--slots", "0")
    with deployment(directory / "town", simulators={"openai": fast}, TUNEHOOK_PRICES=str(prices)) as town:
        yield town


@dataclass
class Owner:
    """Somebody with datasets: the official client, and plain HTTP for what it does not know."""

    town: Deployment
    client: AsyncOpenAI
    http: aiohttp.ClientSession
    contract: Contract

    async def upload(self, content: bytes, name: str = "train.jsonl") -> str:
        return (await self.client.files.create(file=(name, content), purpose="fine-tune")).id

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer, which is as the contract has it. `json=…` or `data=…`."""
        async with self.http.request(method, f"{self.town.url}{path}", **body) as answer:
            self.contract.check_response(method, f"/v1{path}", answer.status, answer.headers, await answer.read())
            return answer.status, await answer.json()

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The job at its end, by long polling."""
        _, job = await eventually(
            lambda: self.ask("GET", f"/fine_tuning/jobs/{job_id}?wait=30"),
            lambda answer: answer[1].get("status") in ("succeeded", "failed", "cancelled"),
        )
        return job

    async def report(self, file_id: str) -> dict[str, Any]:
        status, found = await self.ask("GET", f"/files/{file_id}/report")
        assert status == 200, found
        return found

    async def refused(self, status: int, code: str, path: str, **body: Any) -> str:
        """The message of a POST that must be refused so."""
        found, answer = await self.ask("POST", path, json=body)
        assert (found, answer.get("error", {}).get("code")) == (status, code), answer
        return str(answer["error"]["message"])


@pytest.fixture
async def owner(place: Deployment, contract: Contract) -> AsyncIterator[Owner]:
    caller = await place.key(f"datasets-{secrets.token_hex(4)}")
    headers = {"authorization": f"Bearer {caller.key}"}
    transport = CheckedTransport(contract)
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        AsyncOpenAI(
            base_url=place.url,
            api_key=caller.key,
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=transport, timeout=60.0),
        ) as client,
    ):
        yield Owner(place, client, http, contract)
