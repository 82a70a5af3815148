"""A tuned model's deployment at Fireworks: asked for, found again after lost answers and kills, removed, one each."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

import aiohttp
import pytest

from service.app import build_app
from service.connections import listening
from tests.fakes.fireworks import FakeFireworks, running_fireworks
from tests.fakes.vendor_faults import Fault
from tests.integration.conftest import MODEL, Bench
from tests.integration.upstreams.story import settings, with_upstream
from tunehook import api_keys
from tunehook.context import RetentionPeriods
from tunehook.errors import InvalidParameter, ModelNotFound, ModelNotTrained, NotDeployed, UpstreamUnsupported
from tunehook.jobs import deploying, deployment_commands, model_ready, poller
from tunehook.maintenance import retention
from tunehook.model.deployment import OVER, Deployed, Deployment, DeploymentStage
from tunehook.model.job import Stage
from tunehook.model.member import RETENTION, deployment_member, ready_member
from tunehook.store.doctor import findings
from tunehook.store.engine import keys
from tunehook.upstreams.fireworks import FireworksUpstream

S = DeploymentStage


class Killed(BaseException):
    """The process ends here: nothing that follows in the step is done."""


class Mortal(FireworksUpstream):
    """Dies at calls about deployments where `deaths` says so: before the call is sent, or before its answer is used."""

    deaths: dict[str, list[str]]

    async def deploy(self, wanted: Deployment) -> Deployed:
        self._die("create", "before")
        made = await super().deploy(wanted)
        self._die("create", "after")
        return made

    async def undeploy(self, wanted: Deployment) -> None:
        self._die("remove", "before")
        await super().undeploy(wanted)
        self._die("remove", "after")

    def _die(self, call: str, when: str) -> None:
        waiting = self.deaths.get(call, [])
        if waiting and waiting[0] == when:
            waiting.pop(0)
            raise Killed


@dataclass
class Place:
    bench: Bench
    fake: FakeFireworks
    upstream: Mortal
    job_id: str
    model: str

    async def deploy(self) -> Deployment:
        return await deployment_commands.deploy(self.bench.ctx, "p", self.model)

    async def undeploy(self) -> Deployment:
        return await deployment_commands.undeploy(self.bench.ctx, "p", self.model)

    async def step(self) -> Deployment:
        with suppress(Killed):
            await deploying.advance(self.bench.ctx, self.job_id)
        record = await self.bench.ctx.store.deployments.read(self.job_id)
        assert record is not None
        return record.deployment

    async def until(self, *stages: DeploymentStage, seconds: float = 20.0) -> Deployment:
        begun = time.monotonic()
        while (found := await self.step()).stage not in stages:
            assert time.monotonic() - begun < seconds, found
        return await self.step()  # which tells the job

    async def due_in(self) -> float | None:
        return await self.bench.due_in(deployment_member(self.job_id))


@pytest.fixture
async def place(bench: Bench) -> AsyncIterator[Place]:
    """A job that succeeded at Fireworks."""
    async with running_fireworks() as fake:
        fake.tunable.add(MODEL)
        upstream = Mortal("openai", settings(fake.url, fake.key), account_id=fake.account)
        upstream.deaths = {}
        at = with_upstream(bench, upstream)
        job_id = await at.accept()
        record = await at.until_tracked(job_id)
        job = record.job.model_copy(update={"deployment": "Deploy it."})
        await at.ctx.store.commit(record.change(job))
        fake.set_state("JOB_STATE_COMPLETED")
        await poller.poll(at.ctx, "openai")
        job = (await at.read(job_id)).job
        assert job.seen is not None
        assert job.seen.fine_tuned_model is not None
        yield Place(at, fake, upstream, job_id, job.seen.fine_tuned_model)
        await upstream.close()


async def test_a_model_is_deployed_asked_and_removed(place: Place) -> None:
    assert (await place.deploy()).stage is S.WANTED
    running = await place.until(S.RUNNING)
    assert running.chat_model == f"{place.model}#{running.there}"
    assert (running.accelerator, running.accelerators) == ("NVIDIA_A100_80GB", 2)
    assert (await place.bench.read(place.job_id)).job.deployed == "callable"
    assert await place.due_in() is not None
    assert (await place.undeploy()).stage is S.REMOVING
    gone = await place.until(S.GONE)
    assert gone.chat_model is None
    assert (await place.bench.read(place.job_id)).job.deployed is None
    assert place.fake.deployments.live() == []
    assert await place.due_in() is None


async def test_asked_twice_it_is_one_and_asked_again_after_its_end_it_is_another(place: Place) -> None:
    await place.deploy()
    await place.deploy()
    first = await place.until(S.RUNNING)
    assert (await place.deploy()).there == first.there
    assert place.fake.deployments.created == 1
    await place.undeploy()
    with pytest.raises(NotDeployed, match="being removed"):
        await place.deploy()
    await place.until(S.GONE)
    assert (await place.deploy()).stage is S.WANTED
    second = await place.until(S.RUNNING)
    assert second.there != first.there
    assert len(place.fake.deployments.live()) == 1


@pytest.mark.parametrize("fault", ["lost before", "lost after", "500 before", "500 after", "late"])
async def test_a_lost_answer_makes_one_deployment(place: Place, fault: Fault) -> None:
    place.fake.goes_wrong("create deployment", fault)
    await place.deploy()
    await place.until(S.RUNNING)
    await place.fake.land()
    assert place.fake.deployments.created == 1


@pytest.mark.parametrize("death", ["before", "after"])
@pytest.mark.parametrize("call", ["create", "remove"])
async def test_a_kill_at_any_call_makes_one_and_loses_none(place: Place, call: str, death: str) -> None:
    place.upstream.deaths = {call: [death]}
    await place.deploy()
    await place.until(S.RUNNING)
    assert place.fake.deployments.created == 1
    await place.undeploy()
    await place.until(S.GONE)
    assert place.fake.deployments.live() == []


async def test_a_create_that_lands_after_its_removal_was_asked_for_is_removed(place: Place) -> None:
    place.fake.goes_wrong("create deployment", "late")
    await place.deploy()
    await place.step()
    await place.undeploy()
    assert (await place.step()).stage is S.REMOVING  # absent, and it may land yet
    await place.fake.land()
    assert len(place.fake.deployments.live()) == 1
    await place.until(S.GONE)
    assert place.fake.deployments.live() == []


async def test_a_removal_is_repeated_until_the_vendor_says_that_it_is_gone(place: Place) -> None:
    await place.deploy()
    await place.until(S.RUNNING)
    place.fake.goes_wrong("delete deployment", "lost before", "500 before", place.fake.refusal(429, "Too many"))
    await place.undeploy()
    await place.until(S.GONE)
    assert place.fake.deployments.live() == []


@pytest.mark.parametrize(("status", "code"), [(402, "insufficient_quota"), (429, "insufficient_quota")])
async def test_no_money_and_no_gpu_quota_make_it_wait(place: Place, status: int, code: str) -> None:
    place.fake.goes_wrong("create deployment", place.fake.refusal(status, "No quota for NVIDIA_A100_80GB"))
    await place.deploy()
    waiting = (await place.step()).waiting
    assert waiting is not None
    assert waiting.code == code
    due = await place.due_in()
    assert due is not None
    assert due > 60
    assert (await place.until(S.RUNNING)).waiting is None


@pytest.mark.parametrize("call", ["get deployment", "delete deployment"])
async def test_a_vendor_that_refuses_is_asked_less_and_less_often_and_its_words_are_shown(
    place: Place, call: str
) -> None:
    """The time that it has waited is written into the record: Redis' clock cannot be moved."""
    store = place.bench.ctx.store
    await place.deploy()
    await place.until(S.RUNNING)
    if call == "delete deployment":
        await place.undeploy()
    pauses = []
    for waited in (0, 7, 50, 5000):
        record = await store.deployments.read(place.job_id)
        assert record is not None
        if record.deployment.waiting is not None:
            earlier = record.deployment.waiting.model_copy(update={"since": record.now - waited})
            changed = record.deployment.model_copy(update={"waiting": earlier})
            await store.commit(record.change(changed))
        place.fake.goes_wrong(call, place.fake.refusal(403, "Not permitted"))
        waiting = (await place.step()).waiting
        assert waiting is not None
        assert waiting.code == "permission_denied"
        assert "Not permitted" in waiting.reason
        pauses.append(await place.due_in() or 0)
    assert pauses == sorted(pauses)
    assert pauses[0] <= 3
    assert pauses[2] > 45
    assert 590 < pauses[3] <= 600
    assert (await place.step()).waiting is None


async def test_a_base_that_cannot_be_served_fails_in_the_vendors_words(place: Place) -> None:
    place.fake.deployments.unservable.add(place.model)
    await place.deploy()
    failed = await place.until(S.FAILED)
    assert failed.error is not None
    assert "cannot be deployed" in failed.error.message
    assert (await place.bench.read(place.job_id)).job.deployed is None


async def test_a_deployment_that_fails_at_the_vendor_is_removed_there(place: Place) -> None:
    place.fake.deployments.fails = "Out of memory"
    await place.deploy()
    failed = await place.until(S.FAILED)
    assert failed.error is not None
    assert failed.error.message == "Out of memory"
    assert place.fake.deployments.live() == []


async def test_one_that_is_removed_at_the_vendor_is_gone_here(place: Place) -> None:
    await place.deploy()
    await place.until(S.RUNNING)
    place.fake.deployments.shown.clear()
    await place.until(*OVER)
    assert (await place.bench.read(place.job_id)).job.deployed is None


async def test_unknown_models_and_those_of_others_are_the_same(place: Place) -> None:
    for project, name in (("q", place.model), ("p", "accounts/x/models/y"), ("q", place.job_id), ("p", "ftjob-none")):
        with pytest.raises(ModelNotFound):
            await deployment_commands.deploy(place.bench.ctx, project, name)


async def test_a_checkpoint_is_not_taken_for_the_finished_model(place: Place) -> None:
    """Its name found the finished model, which was deployed, shown and removed in its place."""
    name = f"{place.model}:ckpt-step-90"
    for command in (deployment_commands.deploy, deployment_commands.shown, deployment_commands.undeploy):
        with pytest.raises(InvalidParameter, match=f"checkpoint.*{re.escape(place.model)}"):
            await command(place.bench.ctx, "p", name)
    assert await place.bench.ctx.store.deployments.read(place.job_id) is None


async def test_a_checkpoint_is_not_answered_by_the_finished_model(place: Place) -> None:
    ctx = place.bench.ctx
    await place.deploy()
    await place.until(S.RUNNING)
    key, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="p", name="n")
    body = {"model": f"{place.model}:ckpt-step-90", "messages": [{"role": "user", "content": "Hi"}]}
    async with (
        listening(build_app(ctx), "127.0.0.1", 0, most=10) as [(host, port)],
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(f"http://{host}:{port}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 409
        assert "is a checkpoint" in (await answer.json())["error"]["message"]


async def test_a_job_that_still_trains_has_no_model(place: Place) -> None:
    job_id = await place.bench.accept()
    with pytest.raises(ModelNotTrained):
        await deployment_commands.deploy(place.bench.ctx, "p", job_id)


async def test_where_nothing_is_deployed_from_here_the_words_say_what_to_do(bench: Bench) -> None:
    job_id = await bench.accept()
    await bench.until_tracked(job_id)
    await bench.ended(job_id)
    with pytest.raises(UpstreamUnsupported, match="answer without one"):
        await deployment_commands.deploy(bench.ctx, "p", job_id)


async def test_a_model_is_not_asked_before_it_is_deployed(place: Place) -> None:
    ctx = place.bench.ctx
    await ctx.store.plan(ready_member(place.job_id), 0.0)
    before = len(place.fake.asked)
    await model_ready.ask_until_ready(ctx, place.job_id)
    assert len(place.fake.asked) == before
    assert await place.bench.due_in(ready_member(place.job_id)) is None
    await place.deploy()
    await place.until(S.RUNNING)
    await model_ready.ask_until_ready(ctx, place.job_id)
    assert (await place.bench.read(place.job_id)).job.ready_at is not None


@pytest.mark.parametrize("when", ["running", "removing"])
async def test_one_answer_that_it_is_not_there_ends_no_deployment_that_is_billed(place: Place, when: str) -> None:
    await place.deploy()
    await place.until(S.RUNNING)
    record = await place.bench.ctx.store.deployments.read(place.job_id)
    assert record is not None
    long_ago = record.deployment.model_copy(update={"tried_at": 1})  # no create may land any more
    await place.bench.ctx.store.commit(record.change(long_ago))
    if when == "removing":
        await place.undeploy()
    looks = 1 if when == "removing" else deploying.MISSED_LOOKS
    missing = [place.fake.refusal(404, "Deployment not found") for _ in range(looks)]
    place.fake.goes_wrong("get deployment", *missing)
    await place.until(S.GONE)
    assert place.fake.deployments.live() == []


async def test_looks_that_miss_a_deployment_are_spread_over_the_settle_time(place: Place) -> None:
    place.bench.ctx = replace(place.bench.ctx, settle_seconds=180.0)
    await place.deploy()
    await place.until(S.RUNNING)
    place.fake.goes_wrong("get deployment", place.fake.refusal(404, "Deployment not found"))
    await place.step()
    due = await place.due_in()
    assert due is not None
    assert due > 30


async def test_a_model_by_another_projects_name_is_not_deployed_through_its_job(place: Place) -> None:
    record = await place.bench.read(place.job_id)
    await place.bench.ctx.store.redis.hset(keys.MODEL_OWNERS, place.model, "q")
    await place.bench.ctx.store.redis.hdel(keys.models("p"), place.model)
    assert record.job.seen is not None
    assert record.job.seen.fine_tuned_model == place.model
    with pytest.raises(ModelNotFound):
        await deployment_commands.deploy(place.bench.ctx, "p", place.job_id)


async def test_a_job_that_cannot_be_read_does_not_keep_its_deployment_alive(place: Place) -> None:
    await place.deploy()
    await place.until(S.RUNNING)
    await place.undeploy()
    await place.bench.ctx.store.redis.hset(keys.job(place.job_id), "doc", "{}")
    await place.until(S.GONE)
    assert place.fake.deployments.live() == []


async def test_a_model_that_was_named_late_is_deployed_by_its_name(place: Place) -> None:
    record = await place.bench.read(place.job_id)
    assert record.job.seen is not None
    unnamed = record.job.model_copy(update={"seen": record.job.seen.model_copy(update={"fine_tuned_model": None})})
    place.fake.goes_wrong("create deployment", place.fake.refusal(400, "No base model"))
    await place.bench.ctx.store.commit(record.change(unnamed))
    await deployment_commands.deploy(place.bench.ctx, "p", place.job_id)
    await place.until(S.FAILED)
    record = await place.bench.read(place.job_id)
    await place.bench.ctx.store.commit(
        record.change(
            record.job.model_copy(
                update={"seen": unnamed.seen and unnamed.seen.model_copy(update={"fine_tuned_model": place.model})}
            )
        )
    )
    await deployment_commands.deploy(place.bench.ctx, "p", place.job_id)
    assert (await place.until(S.RUNNING)).model == place.model


async def test_doctor_and_metrics_show_a_live_deployment_with_its_price(place: Place) -> None:
    ctx = place.bench.ctx

    async def _shown() -> tuple[list[str], str]:
        told = [one.words for one in await findings(ctx.store) if one.kind == "deployment" and not one.grave]
        async with (
            listening(build_app(ctx), "127.0.0.1", 0, most=10) as [(host, port)],
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{port}/metrics") as answer,
        ):
            assert answer.status == 200
            return told, await answer.text()

    told, text = await _shown()
    assert told == []
    assert "tunehook_deployments{" not in text
    await place.deploy()
    await place.until(S.RUNNING)
    told, text = await _shown()
    [running] = told
    assert running.startswith("running at openai; 7.78 USD an hour for one replica (source: an old, undated copy")
    assert 'tunehook_deployments{upstream="openai"} 1.0' in text
    assert 'tunehook_deployments_usd_per_hour{upstream="openai"} 7.78' in text
    await place.undeploy()
    await place.until(S.GONE)
    told, text = await _shown()
    assert told == []
    assert "tunehook_deployments{" not in text


async def test_doctor_wakes_a_live_deployment_without_a_planned_step(place: Place) -> None:
    await place.deploy()
    await place.until(S.RUNNING)
    await place.bench.ctx.store.unplan(deployment_member(place.job_id))
    assert await place.due_in() is None
    [found] = [one for one in await findings(place.bench.ctx.store) if one.subject == deployment_member(place.job_id)]
    assert found.grave
    assert found.mend is not None
    await found.mend()
    assert await place.due_in() is not None


async def test_the_record_of_one_that_is_over_is_removed_in_its_time_and_no_other(place: Place) -> None:
    ctx = replace(place.bench.ctx, keep=RetentionPeriods(jobs=0.0))
    await place.deploy()
    await place.until(S.RUNNING)
    await retention.sweep(ctx)
    assert await ctx.store.deployments.read(place.job_id) is not None
    await place.undeploy()
    await place.until(S.GONE)
    await ctx.store.wake(RETENTION)
    await retention.sweep(replace(ctx, keep=RetentionPeriods(jobs=3600.0)))
    assert await ctx.store.deployments.read(place.job_id) is not None
    await ctx.store.wake(RETENTION)
    await retention.sweep(ctx)
    assert await ctx.store.deployments.read(place.job_id) is None
    assert await ctx.store.redis.zcard(keys.DEPLOYMENTS_OVER) == 0
    assert int(await ctx.store.redis.hget(keys.STAGES, S.GONE) or 0) == 0


async def test_one_that_is_asked_for_anew_is_not_removed(place: Place) -> None:
    await place.deploy()
    await place.until(S.RUNNING)
    await place.undeploy()
    await place.until(S.GONE)
    await place.deploy()
    await retention.sweep(replace(place.bench.ctx, keep=RetentionPeriods(jobs=0.0)))
    assert (await place.until(S.RUNNING)).round == 2


def test_no_stage_of_a_deployment_is_one_of_a_job() -> None:
    """Both are counted in one hash, and checked against one table of arrows."""
    assert {stage.value for stage in Stage} & {stage.value for stage in S} == set()
