"""Retention and doctor on many records: their round trips to Redis do not grow with them."""

import time
from pathlib import Path

from tests.fakes.context import opened_context
from tests.fakes.valkey import Valkey
from tunehook.context import Context
from tunehook.maintenance import model_retirement
from tunehook.model.job import FileRef, Job, JobSpec, Stage, UpstreamJob
from tunehook.model.record import new_id
from tunehook.store import doctor

MANY = 600


async def reads(ctx: Context) -> int:
    """Returns how often Redis has read from a connection: once a round trip, of a pipeline once in a few KB."""
    found: dict[str, int] = await ctx.store.redis.info("stats")
    return found["total_reads_processed"]


def trained(number: int, stage: Stage) -> Job:
    file = FileRef(id=new_id("file-"), sha256=f"{number:064}", bytes=1)
    name = f"ft:gpt-4.1-mini-2025-04-14:org::{number:08}"
    seen = UpstreamJob(id=f"ftjob-{number}", status="running", model="gpt-4.1-mini-2025-04-14", fine_tuned_model=name)
    return Job(
        id=new_id("ftjob-"),
        project="p",
        key_id="k",
        created_at=int(time.time()),
        stage=stage,
        spec=JobSpec(model="gpt-4.1-mini-2025-04-14", training_file=file.id, seed=1),
        upstream="openai",
        training=file,
        upstream_job_id=seen.id,
        seen=seen,
    )


async def entered(ctx: Context, jobs: list[Job]) -> None:
    changes = []
    for job in jobs:
        assert job.seen
        change = ctx.store.jobs.submission(job)
        change.needs.clear()
        change.due(f"job:{job.id}", 3600.0)
        ctx.store.upstreams.track(change, job, job.seen)
        ctx.store.models.name(change, job, job.seen.fine_tuned_model or "")
        changes.append(change)
    await ctx.store.commit_many(changes)


async def test_round_trips_of_retention_and_doctor_do_not_grow(valkey: Valkey, tmp_path: Path) -> None:
    # Nothing answers there, so no model has a shutdown date that is known.
    async with opened_context(valkey.url, tmp_path, upstreams={"openai": "http://127.0.0.1:9/v1"}) as ctx:
        jobs = [trained(number, Stage.TRACKED) for number in range(MANY)]
        await entered(ctx, jobs)
        await ctx.store.plan("look:openai", 3600.0)
        used = [job.training.id for job in jobs[::100]]
        before = await reads(ctx)
        assert await model_retirement.datasets_in_use(ctx, [*used, "file-of-none"]) == set(used)
        asked = await reads(ctx) - before
        assert asked < 100, f"{asked} for {MANY} models"
        before = await reads(ctx)
        assert [one.kind for one in await doctor.findings(ctx.store)] == ["clock"]
        asked = await reads(ctx) - before
        assert asked < MANY // 2, f"{asked} for {MANY} tracked jobs"
