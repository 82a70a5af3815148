"""Retention among records that cannot be read, and what stays known of a job that it has removed."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from tests.fakes.shut_down_upstream import after_the_shutdown
from tests.fakes.stored import path_of
from tests.fakes.strange_upstream import strange_upstream
from tests.fakes.valkey import Valkey
from tests.integration.conftest import Bench
from tunehook.context import Context, RetentionPeriods
from tunehook.errors import InvalidParameter, JobNotFound, StoreUnavailable
from tunehook.jobs import imports, lifecycle
from tunehook.maintenance import retention
from tunehook.model.api_key import ApiKey
from tunehook.model.job import Job, Stage
from tunehook.model.member import RETENTION
from tunehook.store.deletion import Ageing
from tunehook.store.engine import keys
from tunehook.store.jobs import JobRecord

EVERYTHING = RetentionPeriods(jobs=0.0, datasets=0.0, copies=0.0)
GARBAGE = '{"id": 7}'


async def finished(bench: Bench, **changes: str) -> Job:
    """A job that has ended and of which nothing more is to be done."""
    job_id = await bench.accept()
    if changes:
        record = await bench.read(job_id)
        await bench.ctx.store.commit(record.change(record.job.model_copy(update=changes)))
    await bench.until_tracked(job_id)
    record = await bench.ended(job_id)
    await lifecycle.advance(bench.ctx, job_id)
    await bench.ctx.store.unplan(record.member)
    return record.job


async def swept(bench: Bench) -> Context:
    """What is due a month from now is removed today."""
    ctx = replace(bench.ctx, keep=EVERYTHING)
    async with after_the_shutdown(ctx, bench.simulator.base_url) as later:
        await retention.sweep(later)
    return ctx


async def is_gone(bench: Bench, job: Job) -> bool:
    try:
        await bench.read(job.id)
    except JobNotFound:
        return True
    return False


async def broken(bench: Bench, job: Job, what: str) -> tuple[str, str, str]:
    """Makes a record of the job unreadable; its key, the index in which retention finds it, and as what."""
    name, index, member = {
        "job": (keys.job(job.id), keys.SETTLED, job.id),
        "result file": (keys.file(next(iter(job.result_files.values()))), keys.SETTLED, job.id),
        "dataset": (keys.file(job.training.id), keys.DATASETS, job.training.id),
        "copy": (keys.copy("openai", job.training.sha256), keys.COPIES, f"openai:{job.training.sha256}"),
    }[what]
    await bench.ctx.store.redis.hset(name, "doc", GARBAGE)
    return name, index, member


@pytest.mark.parametrize("what", ["job", "result file", "dataset", "copy"])
async def test_a_record_that_cannot_be_read_keeps_no_other_from_going(
    bench: Bench, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await finished(bench), await finished(bench)
    redis, now = bench.ctx.store.redis, await bench.ctx.store.now_ms()
    name, index, member = await broken(bench, first, what)
    await swept(bench)
    assert await is_gone(bench, second)
    assert not await bench.ctx.files.storage.exists(second.training.id)
    assert await redis.exists(keys.copy("openai", second.training.sha256)) == 0
    assert await redis.hget(name, "doc") == GARBAGE, "it is left to a doctor"
    assert await redis.zscore(index, member) > now + 3_000_000, "it is asked about again within the hour"
    assert await bench.due_in(RETENTION) is not None
    await redis.zadd(index, {member: 0})  # the hour is over
    await swept(bench)
    assert await redis.zscore(index, member) > now + 3_000_000
    assert caplog.text.count(f"{member} is not removed") == 1, "it is said once"


@pytest.mark.parametrize("index", [keys.UPLOADS, keys.SETTLED, keys.COPIES])
async def test_what_goes_wrong_with_one_kind_keeps_no_other_from_going(
    bench: Bench, index: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is; here, an index that is none."""
    await finished(bench)
    file = await bench.file()
    await bench.ctx.store.redis.delete(index)
    await bench.ctx.store.redis.set(index, "garbage")
    await swept(bench)
    assert not await bench.ctx.files.storage.exists(file.id)
    assert "WRONGTYPE" in caplog.text
    due_in = await bench.due_in(RETENTION)
    assert due_in is not None
    assert due_in > retention.EVERY_SECONDS - 10, "and not again at once"


async def test_a_redis_that_goes_away_meanwhile_is_no_mistake_of_ours(
    bench: Bench, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """The step says so in one line, and is taken up again."""
    await bench.ctx.store.redis.sadd(keys.LEAVING_COPIES, "openai file-1")

    async def _kill(_: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(valkey.kill)
        return web.json_response({"object": "file", "id": "file-1", "deleted": True})

    async with strange_upstream() as strange:
        strange.answers["DELETE /files/file-1"] = _kill
        try:
            with pytest.raises(StoreUnavailable):
                await retention.sweep(replace(bench.ctx, upstreams={"openai": strange.upstream}))
        finally:
            await asyncio.to_thread(valkey.restart)
    assert "Traceback" not in caplog.text


async def test_a_delivery_that_cannot_be_read_keeps_no_job_from_going(bench: Bench) -> None:
    job = await finished(bench, callback_url="https://you.example/hooks")
    (delivery,), _ = await bench.ctx.store.deliveries.page_of_job(job.id, after=None, limit=10)
    await bench.ctx.store.redis.hset(keys.delivery(delivery.id), "doc", GARBAGE)
    assert await bench.ctx.store.deliveries.page_of_job(job.id, after=None, limit=10) == ([], False)
    await swept(bench)
    assert await is_gone(bench, job)


async def test_a_disk_that_refuses_keeps_nothing_at_the_upstream(bench: Bench) -> None:
    job = await finished(bench)
    path = path_of(bench.ctx.files.storage, job.training.id)
    path.unlink()
    path.mkdir()  # what is no file cannot be removed as one
    await swept(bench)
    deleted = [seen["path"] for seen in await bench.simulator.requests() if seen["method"] == "DELETE"]
    assert len(deleted) == 1
    assert await bench.due_in(RETENTION) is not None
    path.rmdir()
    await swept(bench)
    assert await bench.ctx.store.deletion.older(Ageing.LEAVING, 0, 10) == []


async def imported(ctx: Context, job: Job, project: str) -> JobRecord:
    caller = ApiKey(id="k", project=project, name="n", secret_sha256="", callback_secret="", created_at=1)
    there = str(job.upstream_job_id)
    return await imports.import_job(ctx, caller, upstream="openai", upstream_job_id=there, callback_url=None)


async def test_a_job_that_was_forgotten_here_is_still_nobody_elses(bench: Bench) -> None:
    """By its id at the upstream, another project would come to its results and to the model that it made."""
    job = await finished(bench)
    await swept(bench)
    assert await is_gone(bench, job)
    with pytest.raises(InvalidParameter, match="no job"):
        await imported(bench.ctx, job, "q")
    assert job.seen
    model = str((await bench.ctx.store.models.of_project("p"))[0].name)
    assert await bench.ctx.store.models.find(model, "q") is None
    again = (await imported(bench.ctx, job, "p")).job
    assert (again.stage, again.status) == (Stage.SETTLED, "succeeded")
    assert again.id != job.id
