"""Creates whose outcome is not known: what goes wrong while they are looked for, and who waits meanwhile."""

from dataclasses import replace
from typing import Literal

import pytest
from pydantic import SecretStr

from tests.fakes.ports import free_port
from tests.integration.conftest import Bench
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.model.job import Stage
from tunehook.settings import UpstreamSettings
from tunehook.store.engine import keys
from tunehook.upstreams.client import OpenAIUpstream


async def at_its_create(bench: Bench, simulate: str | None = None) -> str:
    """A job whose dataset is there; its next turn asks for it."""
    job_id = await bench.accept(simulate=simulate)
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    return job_id


async def told_to_wait(bench: Bench, fault: str) -> str:
    """A job whose create was answered by this 429."""
    job_id = await at_its_create(bench)
    await bench.simulator.fault(fault, path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.WAITING
    return job_id


async def why(bench: Bench, job_id: str) -> str:
    waiting = (await bench.read(job_id)).job.waiting
    assert waiting is not None
    return waiting.code


@pytest.mark.parametrize(
    ("fault", "code"),
    [("http_503", "upstream_no_answer"), ("reset", "upstream_no_answer"), ("http_429", "upstream_no_answer"),
     ("invalid_api_key", "invalid_api_key")],
)  # fmt: skip
async def test_a_list_that_cannot_be_read_before_a_create_parks_no_job(bench: Bench, fault: str, code: str) -> None:
    """After a 429, what an earlier create may have made is looked for before the next, as often as it takes."""
    job_id = await told_to_wait(bench, "http_429")
    redis, member = bench.ctx.store.redis, f"job:{job_id}"
    await bench.simulator.fault(fault, path="/fine_tuning/jobs$", method="GET", times=None)
    for _ in range(25):  # twenty claims in vain would park it
        await redis.zadd(keys.due("steps"), {member: 0})
        await redis.delete(keys.hold("openai"))
        assert member in await bench.claim()
        await lifecycle.advance(bench.ctx, job_id)
        assert await why(bench, job_id) == code
    assert await redis.hget(keys.CLAIMS, member) is None
    await bench.simulator.clear_faults()
    await redis.delete(keys.hold("openai"))
    await bench.ten_seconds_after_429(job_id)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1


async def test_an_upstream_that_is_away_before_a_repeated_create_is_held(bench: Bench) -> None:
    job_id = await told_to_wait(bench, "http_429")
    settings = UpstreamSettings(base_url=f"http://127.0.0.1:{free_port()}/v1", api_key=SecretStr("sk-nobody"))
    nobody = OpenAIUpstream("openai", settings)
    await lifecycle.advance(replace(bench.ctx, upstreams={"openai": nobody}), job_id)
    await nobody.close()
    assert await why(bench, job_id) == "upstream_unreachable"
    assert await bench.ctx.store.upstreams.held("openai")


@pytest.mark.parametrize("on_unknown", ["retry", "hold"])
async def test_whose_create_is_in_doubt_leaves_the_queue_for_slots_to_others(
    bench: Bench, on_unknown: Literal["retry", "hold"]
) -> None:
    ctx = replace(bench.ctx, on_unknown=on_unknown)
    first = await told_to_wait(bench, "concurrent_jobs")
    assert await bench.ctx.store.upstreams.next_waiting("openai") == first
    second = await at_its_create(bench)
    await lifecycle.advance(ctx, second)
    assert await why(bench, second) == "no_slot"
    await bench.ten_seconds_after_429(first)
    await bench.simulator.fault("reset", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(ctx, first)
    assert (await bench.read(first)).intent_ms is not None
    await lifecycle.advance(ctx, second)
    assert await bench.stage(second) is Stage.TRACKED


async def test_a_job_held_for_a_person_holds_up_no_other(bench: Bench) -> None:
    """One that stood in the queue when its worker died in the middle of the create."""
    ctx = replace(bench.ctx, on_unknown="hold", settle_seconds=0.0)
    first = await at_its_create(bench)
    await bench.simulator.fault("reset", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(ctx, first)
    await bench.ctx.store.redis.zadd(keys.waiting("openai"), {first: 1})
    for _ in range(3):
        await lifecycle.advance(ctx, first)
    assert await why(bench, first) == "unknown_outcome"
    second = await at_its_create(bench)
    await lifecycle.advance(ctx, second)
    assert await bench.stage(second) is Stage.TRACKED


@pytest.mark.parametrize("refusal", ["http_400", "http_404", "http_403"])
async def test_where_the_filter_is_refused_a_lost_create_is_found_page_by_page(bench: Bench, refusal: str) -> None:
    job_id = await at_its_create(bench, simulate="after_reset*1")
    await lifecycle.advance(bench.ctx, job_id)
    assert (await bench.read(job_id)).intent_ms is not None
    await bench.simulator.fault(refusal, path="/fine_tuning/jobs$", method="GET")
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1
    asked = [str(seen["path"]) for seen in await bench.simulator.requests() if "jobs?" in str(seen["path"])]
    assert ["metadata" in path for path in asked] == [True, False]


async def test_a_429_where_the_filter_is_refused_is_still_decided(bench: Bench) -> None:
    job_id = await at_its_create(bench)
    await bench.simulator.fault("http_429", path="/fine_tuning/jobs$", method="POST")
    await bench.simulator.fault("http_400", path="/fine_tuning/jobs$", method="GET")
    await lifecycle.advance(bench.ctx, job_id)
    assert await why(bench, job_id) == "rate_limit_exceeded"
    assert (await bench.read(job_id)).intent_ms is None


async def test_a_job_that_had_ended_when_it_was_found_is_shown_as_ended_once_it_is_settled(bench: Bench) -> None:
    job_id = await at_its_create(bench, simulate="after_reset*1")
    await lifecycle.advance(bench.ctx, job_id)
    await bench.simulator.advance(3600)
    await lifecycle.advance(bench.ctx, job_id)
    found = (await bench.read(job_id)).job
    assert found.seen is not None
    assert (found.stage, found.seen.status, found.shown_status) == (Stage.TRACKED, "succeeded", "running")
    await poller.poll(bench.ctx, "openai")
    settled = (await bench.read(job_id)).job
    assert (settled.stage, settled.shown_status) == (Stage.SETTLED, "succeeded")
