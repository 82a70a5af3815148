"""Nebius: a job that succeeded is shown running until deploying gave its model a name; lost answers and failures."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from tests.fakes.nebius import FakeNebius, running_nebius
from tests.fakes.vendor_faults import Fault
from tests.integration.conftest import MODEL, Bench
from tests.integration.upstreams.story import with_upstream
from tunehook.jobs import deployed_job, deploying, lifecycle, poller
from tunehook.model.deployment import DeploymentStage
from tunehook.model.job import Job
from tunehook.model.member import ready_member
from tunehook.openai_format.jobs import job_object
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.nebius import NebiusUpstream


@dataclass
class Place:
    bench: Bench
    fake: FakeNebius
    job_id: str

    async def read(self) -> Job:
        return (await self.bench.read(self.job_id)).job

    async def work(self, seconds: float = 20.0) -> Job:
        """Takes both steps until the job has ended."""
        begun = time.monotonic()
        while (await self.read()).status is None:
            assert time.monotonic() - begun < seconds
            await lifecycle.advance(self.bench.ctx, self.job_id)
            await deploying.advance(self.bench.ctx, self.job_id)
        return await self.read()


@pytest.fixture
async def place(bench: Bench) -> AsyncIterator[Place]:
    """A job that Nebius says has succeeded."""
    async with running_nebius() as fake:
        fake.tunable.add(MODEL)
        settings = UpstreamSettings(kind="nebius", base_url=f"{fake.url}/v1", api_key=SecretStr(fake.key))
        upstream = NebiusUpstream("openai", settings)
        at = with_upstream(bench, upstream)
        job_id = await at.accept()
        record = await at.until_tracked(job_id)
        await at.ctx.store.commit(record.change(record.job.model_copy(update={"deployment": "Deploy it."})))
        fake.set_status("succeeded")
        await poller.poll(at.ctx, "openai")
        yield Place(at, fake, job_id)
        await upstream.close()


async def test_it_is_running_until_the_name_is_there(place: Place) -> None:
    job = await place.read()
    assert job.status is None
    await lifecycle.advance(place.bench.ctx, place.job_id)
    shown = job_object(await place.read(), revision=1)
    assert (shown["status"], shown["tunehook"]["model"]) == ("running", {"state": "deploying"})
    ended = await place.work()
    assert ended.status == "succeeded"
    assert ended.seen is not None
    assert ended.seen.fine_tuned_model in place.fake.deployed
    assert await place.bench.ctx.store.models.find(ended.seen.fine_tuned_model, "p")


async def test_polls_in_between_end_nothing(place: Place) -> None:
    for _ in range(3):
        await poller.poll(place.bench.ctx, "openai")
    assert (await place.read()).status is None
    await place.work()
    assert len(place.fake.deployed) == 1


@pytest.mark.parametrize("fault", ["lost before", "lost after", "500 before", "500 after"])
async def test_a_lost_answer_makes_one_model(place: Place, fault: Fault) -> None:
    place.fake.goes_wrong("create deployment", fault)
    await place.work()
    assert len(place.fake.deployed) == 1


async def test_a_refused_deployment_ends_the_job_at_once_and_says_what_is_needed(place: Place) -> None:
    place.fake.goes_wrong("create deployment", place.fake.refusal(400, "base_model: cannot be served"))
    ended = await place.work()
    shown = job_object(ended, revision=1)
    assert (shown["status"], shown["fine_tuned_model"]) == ("succeeded", None)
    assert shown["tunehook"]["model"] == {"state": "needs_deployment", "what_to_do": "Deploy it."}


async def test_after_a_quarter_of_an_hour_it_ends_without_a_name_which_is_added_later(place: Place) -> None:
    place.fake.goes_wrong("create deployment", *(place.fake.refusal(429, "Too many requests") for _ in range(2)))
    for _ in range(2):
        await lifecycle.advance(place.bench.ctx, place.job_id)
        await deploying.advance(place.bench.ctx, place.job_id)
    record = await place.bench.read(place.job_id)
    old = (record.job.unnamed_since or 0) - deployed_job.NAMED_SECONDS
    await place.bench.ctx.store.commit(record.change(record.job.model_copy(update={"unnamed_since": old})))
    await lifecycle.advance(place.bench.ctx, place.job_id)
    ended = await place.read()
    assert ended.status == "succeeded"
    assert job_object(ended, revision=1)["tunehook"]["model"] == {"state": "deploying"}
    begun = time.monotonic()
    while (job := await place.read()).deployed != "callable":
        assert time.monotonic() - begun < 120.0
        await deploying.advance(place.bench.ctx, place.job_id)
    assert job.seen is not None
    assert job.seen.fine_tuned_model


async def test_a_model_that_becomes_an_error_needs_a_deployment(place: Place) -> None:
    place.fake.fails = "Unsupported rank"
    await place.work()
    begun = time.monotonic()
    while True:
        await deploying.advance(place.bench.ctx, place.job_id)
        record = await place.bench.ctx.store.deployments.read(place.job_id)
        assert record is not None
        if record.deployment.stage is DeploymentStage.FAILED:
            break
        assert time.monotonic() - begun < 120.0
    await deploying.advance(place.bench.ctx, place.job_id)
    assert job_object(await place.read(), revision=1)["tunehook"]["model"]["state"] == "needs_deployment"
    assert await place.bench.due_in(ready_member(place.job_id)) is None
