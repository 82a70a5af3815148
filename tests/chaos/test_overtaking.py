"""An SDK's retry that overtakes its first call, which goes on in the API though its client has hung up."""

import asyncio
from dataclasses import replace
from typing import Any

from tests.chaos.conftest import MODEL, Bench
from tests.story.datasets import dataset
from tunehook import access, inspection, submission
from tunehook.costing import Costing
from tunehook.dataset import Prices
from tunehook.model import ApiKey
from tunehook.world import World


class Busy(Costing):
    """Reckons only when it is let: as behind another tenant's file of 512 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def prices(self) -> Prices:
        self.asked.set()
        await self.free.wait()
        return await super().prices()


async def prepared(bench: Bench) -> tuple[ApiKey, dict[str, Any]]:
    """A caller, and the body of a job that needs its tokens counted before it is accepted."""
    key, _ = await access.create(bench.world.store, bench.world.vault, project="p", name="x")
    incoming = bench.world.shelf.receive(inspection.Inspector(bench.world, "tests"))
    await incoming.open()
    await incoming.write(dataset())
    file, _ = await inspection.keep(bench.world, incoming, project="p", filename="x.jsonl", seconds=None)
    await inspection.enter(bench.world, file)
    await incoming.close()
    body = {"training_file": file.id, "model": MODEL, "tunehook": {"max_cost_usd": 100.0}}
    return await access.authenticate(bench.world.store, key), body


async def ask(world: World, caller: ApiKey, body: dict[str, Any], *, sdk_retry: bool = False) -> str:
    return (await submission.submit(world, caller, body, idempotency_key=None, sdk_retry=sdk_retry)).job.id


async def test_the_first_call_gets_the_job_of_the_retry_that_overtook_it(bench: Bench) -> None:
    caller, body = await prepared(bench)
    busy = Busy()
    first = asyncio.create_task(ask(replace(bench.world, costing=busy), caller, body))
    await busy.asked.wait()
    retry = await ask(bench.world, caller, body, sdk_retry=True)
    busy.free.set()
    assert await first == retry
    await busy.close()


async def test_a_call_after_that_is_meant_and_makes_a_job_of_its_own(bench: Bench) -> None:
    caller, body = await prepared(bench)
    first = await ask(bench.world, caller, body, sdk_retry=True)  # whose first call never came
    second = await ask(bench.world, caller, body)
    assert second != first
    assert await ask(bench.world, caller, body, sdk_retry=True) == second


async def test_a_second_call_whose_retry_was_told_the_first_job_is_that_job_too(bench: Bench) -> None:
    """Nobody can tell this from a first call's retry; but no job may be paid for that nobody knows of."""
    caller, body = await prepared(bench)
    earlier = await ask(bench.world, caller, body)
    busy = Busy()
    second = asyncio.create_task(ask(replace(bench.world, costing=busy), caller, body))
    await busy.asked.wait()
    assert await ask(bench.world, caller, body, sdk_retry=True) == earlier
    busy.free.set()
    assert await second == earlier
    await busy.close()
