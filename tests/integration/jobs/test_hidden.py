"""An upstream that creates, answers what nobody can read, and shows no job in its list."""

import time
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from tests.integration.conftest import Bench
from tests.integration.jobs.test_unknown_outcome import at_its_create
from tunehook.jobs import lifecycle
from tunehook.jobs.unknown_outcome import MOST_REPEATS, settle_time
from tunehook.model.job import Stage
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream


class Hiding(OpenAIUpstream):
    async def _get(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        answer = await super()._get(path, query)
        return {**answer, "data": [], "has_more": False} if path == "/fine_tuning/jobs" else answer


async def test_a_create_that_is_never_found_is_made_again_a_few_times_and_then_held_for_a_person(bench: Bench) -> None:
    settings = UpstreamSettings(base_url=bench.simulator.base_url, api_key=SecretStr("sk-simulated"))
    upstream = Hiding("openai", settings)
    ctx = replace(bench.ctx, upstreams={"openai": upstream}, settle_seconds=0.01)
    await bench.simulator.fault("after_malformed", path="/fine_tuning/jobs$", method="POST", times=None)
    job_id = await at_its_create(Bench(ctx, bench.simulator))
    until = time.monotonic() + 60
    while (await bench.stage(job_id)) is not Stage.WAITING:
        assert time.monotonic() < until
        await lifecycle.advance(ctx, job_id)
    for _ in range(10):
        await lifecycle.advance(ctx, job_id)
    waiting = (await bench.read(job_id)).job.waiting
    assert waiting is not None
    assert waiting.code == "unknown_outcome"
    assert len(await bench.simulator.jobs()) == 1 + MOST_REPEATS
    # It is found as soon as it is shown, and what is beside it is cancelled.
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert sorted(str(job["status"]) for job in await bench.simulator.jobs()).count("cancelled") == MOST_REPEATS
    await upstream.close()


def test_each_repeat_but_the_first_waits_twice_as_long() -> None:
    assert [settle_time(180, repeats) for repeats in range(MOST_REPEATS + 1)] == [180, 180, 360, 720, 1440]
