"""One run: a client asks for a job as any client does, repeats what is lost, and checks from outside what must hold."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass

import openai
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.chaos.faults import Run
from tests.chaos.town import CALLBACK_SECRET, PROJECT, Town, dataset
from tunehook.webhooks import publishing

MODEL = "gpt-4.1-mini-2025-04-14"
#: Characters for each of 12 lines, by which a dataset is above the 100 MB that go in one request.
LARGE = 8_600_000
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Patience:
    end: float = 400.0  #: seconds for a job's end, on a machine that has other things to do
    hook: float = 120.0  #: and then for its webhook
    poll: float = 2.0  #: how often it is asked for, unless its webhook comes first


async def drive(town: Town, run: Run, patience: Patience | None = None) -> None:
    patience = patience or Patience()
    content = dataset(run.mark, LARGE if run.scenario == "in parts" else 0)
    hook = f"{town.web.root}/hooks/{run.mark}"
    town.board.add(run, hashlib.sha256(content).hexdigest(), publishing.receiver_of(PROJECT, hook))
    run.began = time.monotonic()
    client = town.client
    try:
        job = await _submit(client, run, content, hook)
        run.job_id = job.id
        await _until_end(town, client, run, job, patience)
    except (openai.OpenAIError, TimeoutError) as error:
        run.broken.append(f"{type(error).__name__}: {error}")
        return
    finally:
        run.seconds = time.monotonic() - run.began
    await town.web.hooked(run.mark, patience.hook)
    if not town.web.hooks[run.mark]:
        run.broken.append("no webhook came")
    await _check(town, run, client)


async def _submit(client: AsyncOpenAI, run: Run, content: bytes, hook: str) -> FineTuningJob:
    file = await client.files.create(file=(f"{run.mark}.jsonl", content), purpose="fine-tune")
    metadata = {"run": run.mark} | ({"simulate": run.simulate} if run.simulate else {})
    headers = {"Idempotency-Key": run.mark} if run.number % 2 else {}  # the others rely on the SDK's own retries
    return await client.fine_tuning.jobs.create(
        training_file=file.id, model=MODEL, metadata=metadata, extra_body={"callback_url": hook}, extra_headers=headers
    )


async def _until_end(town: Town, client: AsyncOpenAI, run: Run, job: FineTuningJob, patience: Patience) -> None:
    cancelled = run.scenario != "cancel"
    async with asyncio.timeout(patience.end):
        while job.status not in ENDED:
            await town.web.hooked(run.mark, patience.poll)
            job = await client.fine_tuning.jobs.retrieve(job.id)
            if not cancelled and job.status in ("queued", "running"):
                with suppress(openai.BadRequestError):  # a repeat of a cancel that came through
                    await client.fine_tuning.jobs.cancel(job.id)
                cancelled = True
    expected = "cancelled" if run.scenario == "cancel" else "succeeded"
    if job.status != expected:
        run.broken.append(f"it ended {job.status}, not {expected}: {job.error}")


async def _check(town: Town, run: Run, client: AsyncOpenAI) -> None:
    """One job for one call, paid once; one webhook-id; extras cancelled and told."""
    found = await client.fine_tuning.jobs.list(metadata={"run": run.mark}, limit=10)
    if [job.id for job in found.data] != [run.job_id]:
        run.broken.append(f"one call made the jobs {[job.id for job in found.data]}")
    hooks = town.web.hooks[run.mark]
    if len({hook["webhook-id"] for hook in hooks}) > 1:
        run.broken.append("its webhooks have several ids")
    for hook in hooks:
        try:
            client.webhooks.unwrap(hook["body"], hook, secret=CALLBACK_SECRET)
            told = json.loads(hook["body"])["data"]["id"]
            if told != run.job_id:
                run.broken.append(f"a webhook tells of {told}")
        except (openai.OpenAIError, ValueError) as error:
            run.broken.append(f"a webhook cannot be verified: {error}")
    await _check_paid(town, run, client)


async def _check_paid(town: Town, run: Run, client: AsyncOpenAI) -> None:
    until = time.monotonic() + town.settle + 15
    while True:
        made = [
            job
            for job in await town.upstream_jobs()
            if str((job["metadata"] or {}).get("tunehook", "")).endswith(f"/{run.job_id}")
        ]
        run.extras = max(0, len(made) - 1)
        job = await client.fine_tuning.jobs.retrieve(run.job_id or "")
        ours = (job.model_extra or {})["tunehook"]["upstream_job_id"]
        loose = [one["id"] for one in made if one["id"] != ours and one["status"] != "cancelled"]
        log = [line.message async for line in client.fine_tuning.jobs.list_events(job.id, limit=100)]
        told = sum("extra job" in line for line in log)
        if (made and not loose and told == run.extras) or time.monotonic() > until:
            break
        await asyncio.sleep(1.0)
    if not made:
        run.broken.append("the upstream has no such job")
    if loose:
        run.broken.append(f"paid {len(made)} times: {loose} are not cancelled")
    if told != run.extras:
        run.broken.append(f"{run.extras} extra jobs, {told} of them told as events")
