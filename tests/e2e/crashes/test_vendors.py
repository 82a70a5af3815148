"""Forty jobs at a vendor while creates go wrong and the workers are killed: one paid job and one webhook each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.datasets import dataset
from tests.fakes.deployment import Deployment, deployment
from tests.fakes.fireworks import TUNABLE as FIREWORKS_MODEL
from tests.fakes.fireworks import running_fireworks
from tests.fakes.receiver import running_receiver
from tests.fakes.together import TUNABLE as TOGETHER_MODEL
from tests.fakes.together import running_together
from tests.fakes.vendor_faults import FakeVendor, Fault

JOBS, KILLS = 40, 4
LOST: list[Fault] = ["lost before", "lost after", "500 after", "500 before", "late"]
#: (the fake, its settings, its model, how many jobs it was made to create, how they end)
Vendor = tuple[FakeVendor, dict[str, str], str, Callable[[], int], Callable[[], None]]


@asynccontextmanager
async def fireworks() -> AsyncIterator[Vendor]:
    async with running_fireworks() as fake:
        named = {"API_KEY": fake.key, "ACCOUNT_ID": fake.account, "BASE_URL": fake.url}
        settings = {f"FIREWORKS_{name}": value for name, value in named.items()}
        yield (
            fake,
            settings,
            FIREWORKS_MODEL,
            lambda: len(fake.all_jobs()),
            lambda: fake.set_state("JOB_STATE_COMPLETED"),
        )


@asynccontextmanager
async def together() -> AsyncIterator[Vendor]:
    async with running_together() as fake:
        settings = {"TOGETHER_API_KEY": fake.key, "TOGETHER_BASE_URL": fake.url}
        yield fake, settings, TOGETHER_MODEL, lambda: len(fake.jobs), lambda: fake.set_status("completed")


async def kill(town: Deployment) -> None:
    """SIGKILL for worker, work-horses and clock, in the middle of whatever they do; a manager starts them again."""
    town.worker.kill()
    town.worker.stop()
    town.worker.start()


async def landing(fake: FakeVendor) -> None:
    """Calls whose answer was lost are carried out a little later."""
    while True:
        await asyncio.sleep(0.3)
        await fake.land()


async def stages(client: openai.AsyncOpenAI, jobs: list[str]) -> Counter[str]:
    found: list[Any] = [job async for job in client.fine_tuning.jobs.list(limit=100)]
    return Counter(job.tunehook["stage"] for job in found if job.id in jobs)


@pytest.mark.processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("vendor", [fireworks, together])
async def test_kills_and_lost_creates_make_one_paid_job_and_one_webhook_each(
    vendor: Callable[[], AbstractAsyncContextManager[Vendor]], tmp_path: Path
) -> None:
    async with vendor() as (fake, settings, model, paid, end), running_receiver() as receiver:
        fake.goes_wrong("create job", *(LOST * JOBS)[:JOBS])
        with deployment(tmp_path / "town", simulators={"openai": ()}, all_names=False, **settings) as town:
            caller = await town.key("p")
            async with openai.AsyncOpenAI(base_url=town.url, api_key=caller.key) as client:
                file = await client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
                extra = {"callback_url": receiver.url}
                jobs = [
                    (await client.fine_tuning.jobs.create(model=model, training_file=file.id, extra_body=extra)).id
                    for _ in range(JOBS)
                ]
                late = asyncio.create_task(landing(fake))
                for _ in range(KILLS):
                    await asyncio.sleep(4.0)
                    await kill(town)
                async with asyncio.timeout(300):
                    while (await stages(client, jobs))["tracked"] < JOBS:  # noqa: ASYNC110  other processes' state
                        await asyncio.sleep(1.0)
                late.cancel()
                await fake.land()
                assert paid() == JOBS
                end()
                await receiver.wait(JOBS, seconds=120)
                told = Counter(hook.event["data"]["id"] for hook in receiver.hooks)
                assert told == Counter(jobs)
                assert {hook.event["type"] for hook in receiver.hooks} == {"fine_tuning.job.succeeded"}
