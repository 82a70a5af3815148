"""An SDK's retry that overtakes its first call, which goes on in the API though its client has hung up."""

import asyncio
from dataclasses import replace
from typing import Any

from tests.fakes.datasets import dataset
from tests.integration.conftest import MODEL, Bench
from tunehook import api_keys
from tunehook.context import Context
from tunehook.files import ingest
from tunehook.files.storage import Storage
from tunehook.jobs import submission
from tunehook.model.api_key import ApiKey


class Busy(Storage):
    """Looks for a file only when it is let: as on a disk that is busy with another tenant's 512 MB."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx.files.storage.place, ctx.store.deletion)
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def exists(self, file_id: str, *, within: float = 0.0) -> bool:
        self.asked.set()
        await self.free.wait()
        return await super().exists(file_id, within=within)


def busy_context(bench: Bench) -> tuple[Context, Busy]:
    busy = Busy(bench.ctx)
    return replace(bench.ctx, files=replace(bench.ctx.files, storage=busy)), busy


async def prepared(bench: Bench) -> tuple[ApiKey, dict[str, Any]]:
    """A caller, and the body of a job that needs its tokens counted before it is accepted."""
    key, _ = await api_keys.create(bench.ctx.store, bench.ctx.webhooks.encryption, project="p", name="x")
    async with ingest.receiving(bench.ctx.files.storage) as incoming:
        await incoming.write(dataset())
        file = await ingest.keep(bench.ctx.files, incoming, project="p", filename="x.jsonl", seconds=None)
        await bench.ctx.store.files.add(file)
    body = {"training_file": file.id, "model": MODEL, "tunehook": {"max_cost_usd": 100.0}}
    return await api_keys.authenticate(bench.ctx.store, key), body


async def ask(ctx: Context, caller: ApiKey, body: dict[str, Any], *, sdk_retry: bool = False) -> str:
    return (await submission.submit(ctx, caller, body, idempotency_key=None, sdk_retry=sdk_retry)).job.id


async def test_the_first_call_gets_the_job_of_the_retry_that_overtook_it(bench: Bench) -> None:
    caller, body = await prepared(bench)
    ctx, busy = busy_context(bench)
    first = asyncio.create_task(ask(ctx, caller, body))
    await busy.asked.wait()
    retry = await ask(bench.ctx, caller, body, sdk_retry=True)
    busy.free.set()
    assert await first == retry


async def test_a_call_after_that_is_meant_and_makes_a_job_of_its_own(bench: Bench) -> None:
    caller, body = await prepared(bench)
    first = await ask(bench.ctx, caller, body, sdk_retry=True)  # whose first call never came
    second = await ask(bench.ctx, caller, body)
    assert second != first
    assert await ask(bench.ctx, caller, body, sdk_retry=True) == second


async def test_a_second_call_whose_retry_was_told_the_first_job_is_that_job_too(bench: Bench) -> None:
    """Nobody can tell this from a first call's retry; but no job may be paid for that nobody knows of."""
    caller, body = await prepared(bench)
    earlier = await ask(bench.ctx, caller, body)
    ctx, busy = busy_context(bench)
    second = asyncio.create_task(ask(ctx, caller, body))
    await busy.asked.wait()
    assert await ask(bench.ctx, caller, body, sdk_retry=True) == earlier
    busy.free.set()
    assert await second == earlier
