"""Forty creates at each vendor, each with something that goes wrong: one paid job each, whatever the answer was."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.fakes.fireworks import running_fireworks
from tests.fakes.nebius import running_nebius
from tests.fakes.together import running_together
from tests.fakes.vendor_faults import FakeVendor, Fault
from tests.integration.conftest import MODEL, Bench
from tests.integration.upstreams.story import settings, with_upstream
from tunehook.jobs import copy_step, lifecycle
from tunehook.model.job import JobSpec, Stage, UpstreamJob
from tunehook.upstreams.fireworks import FireworksUpstream
from tunehook.upstreams.nebius import NebiusUpstream
from tunehook.upstreams.together import TogetherUpstream

JOBS = 42
LOST: list[Fault] = ["lost before", "lost after", "500 after", "500 before", "late"]


class Killed(BaseException):
    """The process ends here: nothing that follows in the step is done."""


class KilledFireworks(FireworksUpstream):
    """Dies at a create where `deaths` says so: before it is sent, or before its answer is written."""

    deaths: list[str]

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        return await dying(self.deaths, super().create, spec, training=training, validation=validation, tag=tag)


class KilledTogether(TogetherUpstream):
    """As KilledFireworks."""

    deaths: list[str]

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        return await dying(self.deaths, super().create, spec, training=training, validation=validation, tag=tag)


class KilledNebius(NebiusUpstream):
    """As KilledFireworks."""

    deaths: list[str]

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        return await dying(self.deaths, super().create, spec, training=training, validation=validation, tag=tag)


async def dying(deaths: list[str], create: Callable[..., Any], *given: Any, **named: Any) -> UpstreamJob:
    death = deaths.pop(0) if deaths else ""
    if death == "before":
        raise Killed
    made: UpstreamJob = await create(*given, **named)
    if death == "after":
        raise Killed
    return made


@asynccontextmanager
async def fireworks() -> AsyncIterator[tuple[FakeVendor, KilledFireworks, Callable[[], int]]]:
    async with running_fireworks() as fake:
        fake.tunable.add(MODEL)
        upstream = KilledFireworks("openai", settings(fake.url, fake.key), account_id=fake.account)
        yield fake, upstream, lambda: len(fake.all_jobs())
        await upstream.close()


@asynccontextmanager
async def together() -> AsyncIterator[tuple[FakeVendor, KilledTogether, Callable[[], int]]]:
    async with running_together() as fake:
        fake.tunable.add(MODEL)
        upstream = KilledTogether("openai", settings(fake.url, fake.key))
        yield fake, upstream, lambda: len(fake.jobs)
        await upstream.close()


@asynccontextmanager
async def nebius() -> AsyncIterator[tuple[FakeVendor, KilledNebius, Callable[[], int]]]:
    async with running_nebius() as fake:
        fake.tunable.add(MODEL)
        upstream = KilledNebius("openai", settings(f"{fake.url}/v1", fake.key))
        yield fake, upstream, lambda: len(fake.jobs)
        await upstream.close()


@pytest.mark.parametrize("vendor", [fireworks, nebius, together])
async def test_whatever_becomes_of_the_answer_each_job_is_paid_for_once(
    bench: Bench, vendor: Callable[[], Any]
) -> None:
    async with vendor() as (fake, upstream, paid):
        upstream.deaths = (["", "", "", "", "", "before", "after"] * JOBS)[:JOBS]
        fake.goes_wrong("create job", *(LOST * JOBS)[:JOBS])
        at = with_upstream(bench, upstream)
        file = await at.file()
        jobs = [await at.accept(file) for _ in range(JOBS)]
        await lifecycle.advance(at.ctx, jobs[0])
        await copy_step.copy_to_upstream(at.ctx, "openai", file.sha256)
        waiting, begun = set(jobs), time.monotonic()
        async with asyncio.timeout(180):
            while waiting:
                for job_id in sorted(waiting):
                    with suppress(Killed):
                        await lifecycle.advance(at.ctx, job_id)
                    if await at.stage(job_id) is Stage.TRACKED:
                        waiting.discard(job_id)
                if time.monotonic() - begun > at.ctx.settle_seconds / 2:
                    await fake.land()
        await fake.land()
        tracked = {(await at.read(job_id)).job.upstream_job_id for job_id in jobs}
        assert (len(tracked), paid()) == (JOBS, JOBS)
