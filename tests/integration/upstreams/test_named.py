"""A named create: one look is proof, so it is repeated at once; and what lands after a cancel is still found."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.fakes.fireworks import FakeFireworks, running_fireworks
from tests.fakes.vendor_faults import Fault
from tests.integration.conftest import MODEL, Bench
from tests.integration.upstreams.story import settings, with_upstream
from tunehook.jobs import commands, copy_step, lifecycle, poller
from tunehook.model.job import Stage
from tunehook.upstreams.fireworks import FireworksUpstream


@pytest.fixture
async def fake() -> AsyncIterator[FakeFireworks]:
    async with running_fireworks() as running:
        running.tunable.add(MODEL)
        yield running


@pytest.fixture
async def at(bench: Bench, fake: FakeFireworks) -> AsyncIterator[Bench]:
    """The settle time is an hour: nothing here may wait for it."""
    upstream = FireworksUpstream("openai", settings(fake.url, fake.key), account_id=fake.account)
    named = with_upstream(bench, upstream)
    yield Bench(replace(named.ctx, settle_seconds=3600.0, on_unknown="hold"), bench.simulator)
    await upstream.close()


async def uploaded(at: Bench) -> str:
    """A job whose create is next."""
    job_id = await at.accept()
    await lifecycle.advance(at.ctx, job_id)
    await copy_step.copy_to_upstream(at.ctx, "openai", (await at.read(job_id)).job.training.sha256)
    return job_id


@pytest.mark.parametrize("fault", ["lost before", "lost after", "500 before", "500 after", "late"])
async def test_a_lost_create_needs_no_settle_time_and_no_person(at: Bench, fake: FakeFireworks, fault: Fault) -> None:
    fake.goes_wrong("create job", fault)
    job_id = await uploaded(at)
    for _ in range(3):
        await lifecycle.advance(at.ctx, job_id)
    await fake.land()
    job = (await at.read(job_id)).job
    assert (job.stage, len(fake.all_jobs())) == (Stage.TRACKED, 1)


async def test_creates_that_are_lost_again_and_again_come_less_often(at: Bench, fake: FakeFireworks) -> None:
    lost: list[Fault] = ["lost before"] * 6
    fake.goes_wrong("create job", *lost)
    job_id = await uploaded(at)
    pauses: list[float] = []
    while (record := await at.read(job_id)).job.repeats < 5:
        await lifecycle.advance(at.ctx, job_id)
        pauses.append(await at.due_in(record.member) or 0.0)
    assert max(pauses[:2]) < 3
    assert max(pauses) > 10
    assert fake.all_jobs() == []


async def test_a_create_that_lands_after_the_cancel_is_found_and_cancelled(at: Bench, fake: FakeFireworks) -> None:
    fake.goes_wrong("create job", "late")
    job_id = await uploaded(at)
    await lifecycle.advance(at.ctx, job_id)
    await commands.cancel(at.ctx, job_id, "p")
    for _ in range(3):
        await lifecycle.advance(at.ctx, job_id)
    assert (await at.read(job_id)).job.status == "cancelled"
    await fake.land()
    assert [job["state"] for job in fake.all_jobs()] == ["JOB_STATE_CREATING"]
    await poller.poll(at.ctx, "openai")
    assert [job["state"] for job in fake.all_jobs()] == ["JOB_STATE_CANCELLED"]
