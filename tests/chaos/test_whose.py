"""Whose an upstream's job is: no two of ours are one, likeness cancels nothing, and a mark outlives a renaming."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from tests.chaos.conftest import Bench
from tunehook import lifecycle, look, upload
from tunehook.errors import AlreadyTracked
from tunehook.model import Stage, UpstreamJob
from tunehook.openai_upstream import OpenAIUpstream
from tunehook.settings import UpstreamSettings
from tunehook.store import keys


class Plain(OpenAIUpstream):
    """An upstream that neither shows nor filters metadata."""

    async def _get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: text for name, text in query.items() if not name.startswith("metadata")}
        answer = await super()._get(path, kept)
        for row in answer.get("data", [answer]):
            row.pop("metadata", None)
        return answer


@pytest.fixture
async def plain(bench: Bench) -> AsyncIterator[Bench]:
    settings = UpstreamSettings(base_url=bench.simulator.base_url, api_key=SecretStr("sk-simulated"))
    upstream = Plain("openai", settings)
    yield Bench(replace(bench.world, upstreams={"openai": upstream}), bench.simulator)
    await upstream.close()


async def at_its_create(bench: Bench) -> str:
    """A job like any other of these tests: same dataset, same seed, as in a sweep."""
    job_id = await bench.accept()
    await lifecycle.advance(bench.world, job_id)
    await upload.upload(bench.world, "openai", (await bench.read(job_id)).job.training.sha256)
    return job_id


async def statuses(bench: Bench) -> list[str]:
    return sorted(str(job["status"]) for job in await bench.simulator.jobs())


async def upstream_id(bench: Bench, job_id: str) -> str | None:
    return (await bench.read(job_id)).job.upstream_job_id


async def test_without_metadata_a_job_whose_create_made_nothing_does_not_take_over_its_twin(plain: Bench) -> None:
    first = await at_its_create(plain)
    await plain.until_tracked(first)
    second = await at_its_create(plain)
    await plain.simulator.fault("http_500", path="/fine_tuning/jobs$", method="POST")
    for _ in range(3):
        await lifecycle.advance(plain.world, second)
    assert await upstream_id(plain, second) is None
    await plain.ended(first)


async def test_without_metadata_no_twin_is_cancelled_as_an_extra(plain: Bench) -> None:
    first = await at_its_create(plain)
    await plain.simulator.fault("after_http_500", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(plain.world, first)
    second = await at_its_create(plain)
    await lifecycle.advance(plain.world, second)
    await lifecycle.advance(plain.world, first)
    found = {await upstream_id(plain, job_id) for job_id in (first, second)}
    assert len(found - {None}) == 2
    assert "cancelled" not in await statuses(plain)


async def test_the_store_lets_no_two_jobs_be_one(bench: Bench) -> None:
    first, second = await at_its_create(bench), await at_its_create(bench)
    await bench.until_tracked(first)
    record = await bench.read(second)
    seen = UpstreamJob(id=await upstream_id(bench, first) or "", status="running")
    change = record.change(record.job.moved(Stage.CREATING))
    bench.world.store.upstreams.track(change, record.job, seen)
    with pytest.raises(AlreadyTracked, match=first):
        await bench.world.store.commit(change)
    live = await bench.world.store.upstreams.live("openai")
    assert [job_id for job_id, _ in live.values()] == [first]


async def test_a_deployment_that_is_renamed_finds_what_it_created_under_its_old_name(bench: Bench) -> None:
    job_id = await at_its_create(bench)
    record = await bench.read(job_id)
    named = record.job.model_copy(update={"mark": "old-name"})
    await bench.world.store.commit(record.change(named))
    await bench.simulator.fault("after_http_500", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(bench.world, job_id)
    renamed = replace(bench.world, instance="new-name")
    await lifecycle.advance(renamed, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    [made] = await bench.simulator.jobs()
    assert made["metadata"] == {"tunehook": f"old-name/{job_id}"}


async def test_a_job_that_a_restored_redis_has_forgotten_to_have_created_is_found_and_not_paid_twice(
    bench: Bench,
) -> None:
    job_id = await at_its_create(bench)
    redis, name = bench.world.store.redis, keys.job(job_id)
    record = await bench.read(job_id)
    old = record.job.model_copy(update={"created_at": record.job.created_at - 3600})
    await bench.world.store.commit(record.change(old))
    backup = await redis.dump(name)
    known = keys.known("openai")
    await lifecycle.advance(bench.world, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    await redis.restore(name, 0, backup, replace=True)
    await redis.delete(known, keys.live("openai"))
    await lifecycle.advance(bench.world, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1


async def test_one_job_whose_extras_cannot_be_looked_for_keeps_no_others_events_from_being_read(bench: Bench) -> None:
    healthy = await at_its_create(bench)
    await bench.until_tracked(healthy)
    doubtful = await at_its_create(bench)
    await bench.simulator.fault("http_429", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(bench.world, doubtful)
    assert await bench.world.store.upstreams.doubtful("openai") == [doubtful]
    before = len(await bench.world.store.jobs.log_behind(healthy, "0-0", 100))
    await bench.simulator.advance(60)
    await bench.simulator.fault("http_500", path=r"/fine_tuning/jobs\?.*metadata", method="GET", times=None)
    await look.look(bench.world, "openai")
    assert len(await bench.world.store.jobs.log_behind(healthy, "0-0", 100)) > before
