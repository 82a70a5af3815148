"""Tunehook and the trainer together: from the dataset to the webhook, and the estimate before and after."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.contract.checker import Contract
from tests.contract.upstreams.conftest import NAME, Deployed, deployment
from tests.contract.upstreams.neighbours import Lost
from tests.fakes.trainer import BASE, Trainer, running_trainer, until
from tests.fakes.valkey import Valkey
from tests.integration.trainer.conftest import Bench

pytestmark = pytest.mark.processes


class Place:
    """A trainer as a neighbour."""

    model = BASE

    def __init__(self, trainer: Trainer) -> None:
        self.settings = {"kind": "trainer", "base_url": trainer.base_url, "api_key": "k"}
        self.bench = Bench(trainer)

    async def paid(self) -> int:
        return len([job async for job in self.bench.client.fine_tuning.jobs.list()])

    async def lose_create(self, when: Lost) -> None:
        raise NotImplementedError

    async def refuse_create(self, status: int) -> None:
        raise NotImplementedError

    async def say(self, status: str) -> bool:
        raise NotImplementedError

    async def without_key(self) -> None:
        raise NotImplementedError


async def test_from_the_dataset_to_the_webhook_and_the_next_estimate(
    valkey: Valkey, tmp_path: Path, contract: Contract
) -> None:
    prices = tmp_path / "prices.json"
    row = {"model": BASE, "kinds": ["trainer"], "usd_per_hour": 3.6, "as_of": "2026-11-26", "source": "our power bill"}
    prices.write_text(json.dumps({"prices": [row]}))
    async with running_trainer(tmp_path / "t", valkey.url) as trainer:
        place = Place(trainer)
        async with deployment("trainer", place, valkey, tmp_path / "data", prices=prices) as deployed:
            assert deployed.ctx.upstreams[NAME].identity == "named"
            assert BASE in [model.id async for model in deployed.client.models.list()]
            file, asked = await _file(deployed), {"options": {"training": "lora", "lora_r": 8}}
            first = await _estimate(deployed, file)
            assert first["cost_usd"] is None
            assert any(line.startswith("No estimate yet") for line in first["warnings"])
            job = await deployed.create(tunehook=asked)
            await deployed.until(job.id, "tracked")
            [made] = [one async for one in place.bench.client.fine_tuning.jobs.list()]
            raw = made.model_dump()
            assert (raw["training"], raw["lora_r"]) == ("lora", 8)
            await trainer.workers[0].start()
            await place.bench.until(made.id, "succeeded")
            await deployed.poll()
            ended = await deployed.client.fine_tuning.jobs.retrieve(job.id)
            assert ended.status == "succeeded"
            assert ended.fine_tuned_model == f"ft:{BASE}:local::{made.id[-12:]}"
            [hook] = deployed.receiver.hooks
            contract.check_webhook(hook.body, hook.headers)

            async def priced() -> dict[str, Any]:
                return await _estimate(deployed, file)

            then = await until(priced, lambda found: found["cost_usd"] is not None)
            assert 0 < then["cost_usd"] < 1
        await place.bench.client.close()


async def _file(deployed: Deployed) -> str:
    return (await deployed.client.files.create(file=("t.jsonl", b"\n".join(ROWS)), purpose="fine-tune")).id


ROWS = [
    b'{"messages": [{"role": "user", "content": "%d?"}, {"role": "assistant", "content": "%d"}]}' % (n, n)
    for n in range(12)
]


async def _estimate(deployed: Deployed, file: str) -> dict[str, Any]:
    body = {"model": BASE, "training_file": file, "tunehook": {"upstream": NAME}}
    found = await deployed.client.post("/fine_tuning/jobs/estimate", body=body, cast_to=httpx2.Response)
    answer: dict[str, Any] = found.json()
    return answer
