"""Whose an upstream's job is: no two of ours are one, likeness cancels nothing, and a mark outlives a renaming."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from tests.integration.conftest import MODEL, Bench
from tests.integration.jobs.test_poller import elsewhere, status_there
from tunehook.errors import AlreadyTracked, UpstreamUnknown
from tunehook.jobs import copy_step, lifecycle, poller, uploading
from tunehook.model.file import File
from tunehook.model.job import JobSpec, Stage, UpstreamJob
from tunehook.settings import UpstreamSettings
from tunehook.store.engine import keys
from tunehook.upstreams.client import OpenAIUpstream


class Plain(OpenAIUpstream):
    """An upstream that neither shows nor filters metadata."""

    async def _get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: text for name, text in query.items() if not name.startswith("metadata")}
        answer = await super()._get(path, kept)
        for row in answer.get("data", [answer]):
            row.pop("metadata", None)
        return answer


def upstream_settings(bench: Bench) -> UpstreamSettings:
    return UpstreamSettings(base_url=bench.simulator.base_url, api_key=SecretStr("sk-simulated"))


@pytest.fixture
async def plain(bench: Bench) -> AsyncIterator[Bench]:
    upstream = Plain("openai", upstream_settings(bench))
    yield Bench(replace(bench.ctx, upstreams={"openai": upstream}), bench.simulator)
    await upstream.close()


class Sulking(OpenAIUpstream):
    """An upstream that fails at a filtered list, for some jobs, and shows nothing in the list of all."""

    fails_for: frozenset[str] = frozenset()

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        if tag.rpartition("/")[2] in self.fails_for:
            raise UpstreamUnknown(upstream=self.name, why="it answered 500")
        return await super().find(spec, training=training, tag=tag, since=since)

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        return [], False


async def at_its_create(bench: Bench, file: File | None = None) -> str:
    """A job, with the same seed as any other of these tests; on the same file it is its twin, as in a sweep."""
    job_id = await bench.accept(file)
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)
    return job_id


async def upstream_id(bench: Bench, job_id: str) -> str | None:
    return (await bench.read(job_id)).job.upstream_job_id


async def test_without_metadata_a_job_whose_create_made_nothing_does_not_take_over_its_twin(plain: Bench) -> None:
    file = await plain.file()
    first = await at_its_create(plain, file)
    await plain.until_tracked(first)
    await plain.simulator.fault("http_500", path="/fine_tuning/jobs$", method="POST")
    second = await at_its_create(plain, file)  # the dataset is there: it was asked for already
    for _ in range(3):
        await lifecycle.advance(plain.ctx, second)
    assert await upstream_id(plain, second) is None
    async with asyncio.timeout(60):
        while await plain.stage(second) is not Stage.TRACKED:  # created again after the settle time of 2 s
            await asyncio.sleep(0.3)
            await lifecycle.advance(plain.ctx, second)
    assert await upstream_id(plain, second) != await upstream_id(plain, first)
    await plain.ended(first)


async def test_without_metadata_no_twin_is_cancelled_as_an_extra(plain: Bench) -> None:
    """Whose it is nobody can tell: it may be of another deployment, or one of ours whose answer is on its way."""
    job_id = await at_its_create(plain)
    await plain.simulator.fault("after_http_500", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(plain.ctx, job_id)
    [ours] = [str(job["id"]) for job in await plain.simulator.jobs()]
    await plain.simulator.advance(1)
    training, _ = await uploading.upstream_files(plain.ctx, (await plain.read(job_id)).job)
    twin = {"model": MODEL, "training_file": training, "seed": 1}
    async with (
        aiohttp.ClientSession(headers={"authorization": "Bearer sk-elsewhere"}) as session,
        session.post(f"{plain.simulator.base_url}/fine_tuning/jobs", json=twin) as answer,
    ):
        answer.raise_for_status()
    await lifecycle.advance(plain.ctx, job_id)
    assert await upstream_id(plain, job_id) == ours
    assert "cancelled" not in [str(job["status"]) for job in await plain.simulator.jobs()]


async def test_the_store_lets_no_two_jobs_be_one(bench: Bench) -> None:
    first, second = await at_its_create(bench), await at_its_create(bench)
    await bench.until_tracked(first)
    record = await bench.read(second)
    seen = UpstreamJob(id=await upstream_id(bench, first) or "", status="running")
    change = record.change(record.job.moved(Stage.CREATING))
    bench.ctx.store.upstreams.track(change, record.job, seen)
    with pytest.raises(AlreadyTracked, match=first):
        await bench.ctx.store.commit(change)
    live = await bench.ctx.store.upstreams.live("openai")
    assert [job_id for job_id, _ in live.values()] == [first]


async def test_a_deployment_that_is_renamed_finds_what_it_created_under_its_old_name(bench: Bench) -> None:
    job_id = await at_its_create(bench)
    record = await bench.read(job_id)
    named = record.job.model_copy(update={"mark": "old-name"})
    await bench.ctx.store.commit(record.change(named))
    await bench.simulator.fault("after_http_500", path="/fine_tuning/jobs$", method="POST")
    await lifecycle.advance(bench.ctx, job_id)
    renamed = replace(bench.ctx, instance="new-name")
    await lifecycle.advance(renamed, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    [made] = await bench.simulator.jobs()
    assert made["metadata"] == {"tunehook": f"old-name/{job_id}"}


async def test_a_job_that_a_restored_redis_has_forgotten_to_have_created_is_found_and_not_paid_twice(
    bench: Bench,
) -> None:
    job_id = await at_its_create(bench)
    redis, name = bench.ctx.store.redis, keys.job(job_id)
    record = await bench.read(job_id)
    old = record.job.model_copy(update={"created_at": record.job.created_at - 3600})
    await bench.ctx.store.commit(record.change(old))
    backup = await redis.dump(name)
    known = keys.known("openai")
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    await redis.restore(name, 0, backup, replace=True)
    await redis.delete(known, keys.live("openai"))
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
    assert len(await bench.simulator.jobs()) == 1


async def test_one_job_whose_extras_cannot_be_looked_for_holds_up_no_other(bench: Bench) -> None:
    healthy, *doubtful = [await at_its_create(bench) for _ in range(3)]
    await bench.until_tracked(healthy)
    for job_id in doubtful:
        await bench.simulator.fault("http_429", path="/fine_tuning/jobs$", method="POST")
        await lifecycle.advance(bench.ctx, job_id)
        await bench.ten_seconds_after_429(job_id)
        await lifecycle.advance(bench.ctx, job_id)
        assert await bench.stage(job_id) is Stage.TRACKED
    first, second = sorted(await bench.ctx.store.upstreams.watched_for_extras("openai"))
    record = await bench.read(second)
    [extra] = await elsewhere(bench, second, tag=bench.ctx.tag(record.job))
    before = len(await bench.ctx.store.job_log.after(healthy, "0-0", 100))
    await bench.simulator.advance(60)
    sulking = Sulking("openai", upstream_settings(bench))
    sulking.fails_for = frozenset({first})
    await poller.poll(replace(bench.ctx, upstreams={"openai": sulking}), "openai")
    await sulking.close()
    assert len(await bench.ctx.store.job_log.after(healthy, "0-0", 100)) > before
    assert await status_there(bench, extra) == "cancelled"
