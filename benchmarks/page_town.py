"""Jobs as they look while they train, written into the store: two cores cannot train two hundred beside a browser."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable

import aiohttp

from tests.fakes.datasets import dataset
from tunehook.model.job import Job, Message, Stage, UpstreamJob
from tunehook.store.store import Store

MODEL = "gpt-4.1-mini-2025-04-14"


async def accepted(url: str, session: aiohttp.ClientSession, count: int) -> list[str]:
    """Submits jobs; returns their ids. No worker runs, so none of them goes on."""
    form = aiohttp.FormData({"purpose": "fine-tune"})
    form.add_field("file", dataset(), filename="train.jsonl")
    async with session.post(f"{url}/files", data=form) as answer:
        file_id = (await answer.json())["id"]
    found = []
    for n in range(count):
        body = {"model": MODEL, "training_file": file_id, "suffix": f"run-{n}", "metadata": {"run": str(n)}}
        async with session.post(f"{url}/fine_tuning/jobs", json=body) as answer:
            assert answer.ok, await answer.text()
            found.append(str((await answer.json())["id"]))
    return found


async def trains(store: Store, job_id: str) -> None:
    """Moves an accepted job to its upstream, where it trains from now on."""
    for stage in (Stage.UPLOADING, Stage.CREATING, Stage.TRACKED):
        await _change(store, job_id, stage=stage, upstream_job_id=f"{job_id}-there" if stage is Stage.TRACKED else None)
    await moves(store, job_id, 0)


async def moves(store: Store, job_id: str, tokens: int) -> None:
    """Lets the upstream tell of a running job: its end moves, which is a change of the record."""
    seen = UpstreamJob(
        id=f"{job_id}-there",
        status="running",
        created_at=int(time.time()) - 600,
        model=MODEL,
        trained_tokens=tokens,
        estimated_finish=int(time.time()) + 600 + tokens,
    )
    await _change(store, job_id, seen=seen)


async def ends(store: Store, job_id: str) -> None:
    """Ends a running job."""
    seen = (await store.jobs.read(job_id)).job.seen
    assert seen is not None
    now = int(time.time())
    done = seen.model_copy(
        update={"status": "succeeded", "finished_at": now, "fine_tuned_model": f"ft:{MODEL}:org::{job_id[-8:]}"}
    )
    await _change(store, job_id, stage=Stage.SETTLED, status="succeeded", settled_at=now, seen=done)


async def steps(store: Store, job_id: str, numbers: Iterable[int], total: int) -> None:
    """Adds metrics of these steps to a job's log, as a poll does."""
    rows = [
        Message(
            created_at=int(time.time()),
            message=f"Step {step}/{total}: training loss={loss(step, total):.2f}",
            type="metrics",
            data={
                "step": step,
                "total_steps": total,
                "train_loss": loss(step, total),
                "valid_loss": loss(step, total) * 1.1 + 0.05,
                "train_mean_token_accuracy": 1 - loss(step, total) / 3,
            },
            upstream_event_id=f"ftevent-{job_id}-{step}",
        )
        for step in numbers
    ]
    for start in range(0, len(rows), 500):
        await store.job_log.append(job_id, rows[start : start + 500])


def loss(step: int, total: int) -> float:
    """A curve that falls, with the noise of small batches."""
    return 2.4 * math.exp(-5 * step / total) + 0.25 * math.sin(step * 12.9898) ** 2


async def _change(store: Store, job_id: str, **members: object) -> None:
    record = await store.jobs.read(job_id)
    changed: Job = record.job.model_copy(update=members)
    await store.commit(record.change(changed))


async def at_a_rate(store: Store, job_ids: list[str], per_second: float) -> None:
    """Changes one job after the other, until it is cancelled."""
    tokens, began = 0, time.monotonic()
    while True:
        await moves(store, job_ids[tokens % len(job_ids)], tokens)
        tokens += 1
        await asyncio.sleep(max(0.0, began + tokens / per_second - time.monotonic()))
