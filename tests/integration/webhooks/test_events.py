"""What is told of jobs, models, upstreams and records: each event once, in the commit of what it tells."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.checker import Contract
from tests.fakes.context import opened_context
from tests.fakes.datasets import dataset
from tests.fakes.receiver import Hook, Receiver
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import Valkey
from tests.integration.webhooks.conftest import VAULT_KEY, Office, settled_job
from tunehook.context import Context
from tunehook.jobs import copy_step, finishing, lifecycle, model_ready, poller, tracking
from tunehook.maintenance import model_retirement, sweeps
from tunehook.model.job import Stage, UpstreamJob
from tunehook.model.member import Queue
from tunehook.webhooks import event_types

BASE = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running_simulator(speed=50, slots=1) as running:
        yield running


@pytest.fixture
async def ctx(valkey: Valkey, tmp_path: Path, simulator: Simulator) -> AsyncIterator[Context]:
    async with opened_context(
        valkey.url,
        tmp_path,
        upstreams={"openai": simulator.base_url},
        secret_key=VAULT_KEY,
        allow="127.0.0.1",
        webhooks={"operators": "one"},
    ) as ctx:
        yield ctx


async def work(ctx: Context) -> None:
    """What the clock would hand to workers, done here and now, and a look."""
    queues: tuple[Queue, ...] = ("steps", "bulk")
    for queue in queues:
        for member in (await ctx.store.claim(queue, 100)).members:
            kind, _, rest = member.partition(":")
            match kind:
                case "job":
                    await lifecycle.advance(ctx, rest)
                case "copy":
                    await copy_step.copy_to_upstream(ctx, *rest.rsplit(":", 1))
                case "ready":
                    await model_ready.ask_until_ready(ctx, rest)
    await poller.poll(ctx, "openai")


async def submit(office: Office, **members: Any) -> Any:
    file = await office.client.files.create(file=("birds.jsonl", dataset()), purpose="fine-tune")
    return await office.client.fine_tuning.jobs.create(training_file=file.id, model=BASE, **members)


async def until_told(office: Office, receiver: Receiver, kind: str) -> Hook:
    """Works on until a webhook of this type has come."""
    async with asyncio.timeout(120):
        while True:
            await work(office.ctx)
            await office.deliver()
            for hook in receiver.hooks:
                if hook.event["type"] == kind:
                    return hook
            for member in await office.ctx.store.redis.zrange("th:due:steps", 0, -1):
                await office.ctx.store.redis.zadd("th:due:steps", {member: 0})


async def test_a_job_is_told_from_its_acceptance_to_its_working_model(
    office: Office, receiver: Receiver, simulator: Simulator, contract: Contract
) -> None:
    await office.subscribe(receiver.url, *event_types.ALL)
    job = await submit(office, metadata={"team": "search"})
    await until_told(office, receiver, event_types.RUNNING)
    await simulator.advance(3600)
    await until_told(office, receiver, event_types.READY)
    await simulator.advance(60)
    await until_told(office, receiver, event_types.CHECKPOINT)
    for hook in receiver.hooks:
        contract.check_webhook(hook.body, hook.headers)
        assert hook.event["data"]["id"] == job.id
        assert hook.event["data"]["metadata"] == {"team": "search"}
    kinds = [hook.event["type"] for hook in receiver.hooks]
    steps = [h.event["data"]["checkpoint"]["step_number"] for h in receiver.hooks if "checkpoint" in h.event["data"]]
    assert len(steps) == len(set(steps)) > 0
    once = {event_types.CREATED, event_types.RUNNING, event_types.SUCCEEDED, event_types.READY}
    assert all(kinds.count(kind) == 1 for kind in once)
    assert set(kinds) == {*once, event_types.CHECKPOINT}
    # `sequence` tells the order in which it happened, whatever the order of arrival.
    in_order = sorted(receiver.hooks, key=lambda hook: hook.event["data"]["tunehook"]["sequence"])
    ordered = [hook.event["type"] for hook in in_order if hook.event["type"] in once]
    assert ordered == [event_types.CREATED, event_types.RUNNING, event_types.SUCCEEDED, event_types.READY]
    sequences = [hook.event["data"]["tunehook"]["sequence"] for hook in receiver.hooks]
    assert len(set(sequences)) == len(sequences)


async def test_a_job_that_waits_for_a_slot_is_told_once_with_the_reason(
    office: Office, receiver: Receiver, contract: Contract
) -> None:
    await office.subscribe(receiver.url, event_types.WAITING)
    await submit(office)
    second = None
    for _ in range(8):
        await work(office.ctx)
        second = second or await submit(office)
    hook = await until_told(office, receiver, event_types.WAITING)
    contract.check_webhook(hook.body, hook.headers)
    assert second is not None
    assert hook.event["data"]["tunehook"]["waiting"]["code"] == "no_slot"
    for _ in range(3):
        await work(office.ctx)
        await office.deliver()
    assert [h.event["data"]["id"] for h in receiver.hooks].count(hook.event["data"]["id"]) == 1


async def test_defaults_and_callbacks_get_openais_three_alone(office: Office, receiver: Receiver) -> None:
    await office.post("/v1/webhook_endpoints", {"name": "default", "url": receiver.url})
    job = await submit(office, extra_body={"callback_url": f"{receiver.url}/back"})
    await work(office.ctx)
    await office.client.fine_tuning.jobs.cancel(job.id)
    await until_told(office, receiver, event_types.CANCELLED)
    await office.deliver()
    assert [hook.event["type"] for hook in receiver.hooks] == [event_types.CANCELLED] * 2
    assert len({hook.id for hook in receiver.hooks}) == 1  # one event, two deliveries


async def test_a_refused_key_is_told_once_in_a_spell(
    office: Office, receiver: Receiver, simulator: Simulator, contract: Contract
) -> None:
    await office.subscribe(receiver.url, event_types.UPSTREAM_REFUSED)
    await simulator.fault("invalid_api_key", times=None)
    await submit(office)
    hook = await until_told(office, receiver, event_types.UPSTREAM_REFUSED)
    contract.check_webhook(hook.body, hook.headers)
    data = hook.event["data"]
    assert (data["upstream"], data["waiting_jobs"]) == ("openai", 1)
    for _ in range(3):
        await office.ctx.store.redis.delete("th:hold:openai")
        for member in await office.ctx.store.redis.zrange("th:due:bulk", 0, -1):
            await office.ctx.store.redis.zadd("th:due:bulk", {member: 0})
        await work(office.ctx)
    assert await office.ctx.store.upstreams.held("openai")  # it was refused again, and held again
    await office.deliver()
    assert len(receiver.hooks) == 1


async def test_a_parked_record_is_told_to_its_project_once(
    offices: list[Office], receiver: Receiver, contract: Contract
) -> None:
    for office in offices:
        await office.subscribe(f"{receiver.url}/{office.project}", event_types.RECORD_PARKED)
    office = offices[0]
    job = await submit(office)
    redis = office.ctx.store.redis
    await redis.zadd("th:parked", {f"job:{job.id}": 1_795_340_000_000})
    for _ in range(2):
        await sweeps.sweep(office.ctx, "parked")
    await office.deliver()
    assert [hook.event["data"]["record_id"] for hook in receiver.hooks] == [job.id]
    contract.check_webhook(receiver.hooks[0].body, receiver.hooks[0].headers)
    # What belongs to no project concerns the operators' alone, and what is parked anew is told anew.
    await redis.zadd("th:parked", {f"job:{job.id}": 1_795_349_999_000, "copy:openai:abc": 1_795_340_000_000})
    await sweeps.sweep(office.ctx, "parked")
    await office.deliver()
    assert sorted(hook.event["data"]["record_id"] for hook in receiver.hooks[1:]) == [
        "copy:openai:abc",
        job.id,
    ]


async def test_a_model_that_will_be_shut_down_is_told_once(
    office: Office, receiver: Receiver, contract: Contract
) -> None:
    await office.subscribe(receiver.url, event_types.RETIRING, event_types.SUCCEEDED)
    job = await submit(office)
    ended = replace_end(office, job.id)
    await ended
    for _ in range(2):
        assert await model_retirement.publish_retiring(office.ctx, within_days=100_000)
    await office.deliver()
    told = [hook for hook in receiver.hooks if hook.event["type"] == event_types.RETIRING]
    assert len(told) == 1
    contract.check_webhook(told[0].body, told[0].headers)
    assert told[0].event["data"]["base_model"] == BASE
    assert told[0].event["data"]["job_id"] == job.id


async def replace_end(office: Office, job_id: str) -> None:
    """The upstream says that it is done: what it says is all that counts here."""
    async with asyncio.timeout(120):
        while (await office.ctx.store.jobs.read(job_id)).job.stage is not Stage.TRACKED:
            await work(office.ctx)
    record = await office.ctx.store.jobs.read(job_id)
    assert record.job.seen
    end = record.job.seen.model_copy(
        update={"status": "succeeded", "fine_tuned_model": f"ft:{BASE}:acme::Abc", "model": BASE, "trained_tokens": 5}
    )
    await tracking.observe(office.ctx, record, end)


def test_days_are_counted_in_utc() -> None:
    assert model_retirement.days_until("2027-01-14", 1_799_884_800) == 0  # 2027-01-14T00:00:00Z
    assert model_retirement.days_until("2027-01-14", 1_799_884_799) == 1


@pytest.mark.parametrize(
    ("hours", "kind", "estimate", "stalled"),
    [
        (23, "supervised", None, False),
        (25, "supervised", None, True),
        (25, "reinforcement", None, False),
        (73, "reinforcement", None, True),
        (7, "supervised", 0, True),  # its own estimate is over, and it has said nothing for long
        (5, "supervised", 0, False),
        (7, "supervised", 7, False),
    ],
)
def test_silence_is_measured_by_what_such_jobs_take(hours: int, kind: str, estimate: int | None, stalled: bool) -> None:
    now = 1_795_340_602 + hours * 3600
    finish = None if estimate is None else 1_795_340_602 + estimate * 3600
    seen = UpstreamJob(id="ftjob-x", status="running", estimated_finish=finish, method={"type": kind, kind: {}})
    job = settled_job("p", "k", "x.succeeded", stage=Stage.TRACKED, seen=seen, news_at=1_795_340_602)
    assert tracking.is_stalled(job, now) is stalled
    assert not tracking.is_stalled(job.model_copy(update={"stalled_at": now - 1}), now)


async def test_a_silent_job_is_told_once(office: Office, receiver: Receiver, contract: Contract) -> None:
    await office.subscribe(receiver.url, event_types.STALLED)
    job = await submit(office)
    async with asyncio.timeout(120):
        while (record := await office.ctx.store.jobs.read(job.id)).job.stage is not Stage.TRACKED:
            await work(office.ctx)
    silent = record.job.model_copy(update={"news_at": record.now - 25 * 3600})
    await office.ctx.store.commit(record.change(silent))
    for _ in range(2):
        await lifecycle.advance(office.ctx, job.id)
    await office.deliver()
    assert [hook.event["type"] for hook in receiver.hooks] == [event_types.STALLED]
    contract.check_webhook(receiver.hooks[0].body, receiver.hooks[0].headers)


async def test_nobody_asked_so_no_event_is_written(office: Office) -> None:
    job = await submit(office)
    await office.client.fine_tuning.jobs.cancel(job.id)
    names = [name async for name in office.ctx.store.redis.scan_iter(match="th:event:*")]
    assert names == []


async def test_a_commit_that_is_refused_tells_nothing(office: Office, receiver: Receiver) -> None:
    made = await office.subscribe(receiver.url, event_types.CANCELLED)
    job = await submit(office)
    record = await office.ctx.store.jobs.read(job.id)
    stale = replace(record, revision=record.revision + 5)
    with pytest.raises(Exception, match="changed by another"):
        await finishing.settle(office.ctx, stale, "cancelled")
    assert await office.deliveries(made["id"]) == []
