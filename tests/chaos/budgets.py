"""The budget: jobs of a project whose month has money for some of them, under random kills.

In one breath of Redis, again and again: what the account holds and has spent is the sum over the jobs' records, and
never more than the budget.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai

from tests.chaos.drive import ENDED, MODEL
from tests.chaos.faults import Run
from tests.chaos.report import Report
from tests.chaos.soak import Reaper
from tests.chaos.town import PROJECT, Town, dataset, town
from tunehook import projects
from tunehook.errors import StoreUnavailable
from tunehook.model.project import millionths, month_of
from tunehook.store.engine import keys

#: Seconds for a job's end, after the last kill.
PATIENCE = 300.0
#: Held and spent: of the account, and of all records.
_SUMS = """
local sums = redis.call('HMGET', KEYS[1], 'held', 'spent')
local held, spent = 0, 0
for _, key in ipairs(redis.call('KEYS', 'th:job:*')) do
  local doc = redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, 'doc')
  local money = doc and cjson.decode(doc).money
  if money and money.state == 'held' then held = held + money.amount end
  if money and money.state == 'spent' then spent = spent + (money.spent or 0) end
end
return {tonumber(sums[1] or 0), tonumber(sums[2] or 0), held, spent}
"""


async def _watch(place: Town, budget: int, broken: set[str]) -> None:
    account = keys.money(PROJECT, month_of(int(time.time())))
    while True:
        with suppress(StoreUnavailable):
            held, spent, of_jobs, ended = await place.store.redis.eval(_SUMS, 1, account)
            if (held, spent) != (of_jobs, ended):
                broken.add(f"the account has {held} held and {spent} spent, the records {of_jobs} and {ended}")
            if held + spent > budget:
                broken.add(f"{held} held and {spent} spent are above the budget of {budget}")
        await asyncio.sleep(0.1)


async def _job(place: Town, file_id: str, run: Run) -> None:
    """Submits a job until the budget refuses it; cancels every third."""
    wanted: dict[str, Any] = {"model": MODEL, "training_file": file_id, "metadata": {"run": run.mark}}
    try:
        headers = {"Idempotency-Key": run.mark}
        job = await place.client.fine_tuning.jobs.create(**wanted, extra_headers=headers)
    except openai.RateLimitError as refused:
        run.scenario = "refused"
        if refused.code != "insufficient_quota":
            run.broken.append(f"refused: {refused}")
        return
    run.job_id = job.id
    if run.number % 3 == 0:
        run.scenario = "cancelled"
        with suppress(openai.BadRequestError):  # it has ended
            await place.client.fine_tuning.jobs.cancel(job.id)
    while job.status not in ENDED:
        await asyncio.sleep(1.0)
        job = await place.client.fine_tuning.jobs.retrieve(job.id)


async def spend(directory: Path, *, jobs: int, seconds: float = 60.0, seed: int = 1) -> Report:
    """Submits so many jobs where the budget has room for a quarter of them at a time, under `seconds` of kills."""
    report = Report(f"{jobs} jobs on a budget for {jobs // 4} of them, under kills", "budgets")
    begun, dice, broken = time.monotonic(), random.Random(seed), set[str]()  # noqa: S311
    async with town(directory) as place:
        file = await place.client.files.create(file=("a.jsonl", dataset("budget")), purpose="fine-tune")
        path, body = "/fine_tuning/jobs/estimate", {"model": MODEL, "training_file": file.id}
        found: Any = await place.client.post(path, cast_to=object, body=body)
        budget = millionths(found["cost_usd"]) * (jobs // 4)
        await projects.change(place.store, PROJECT, {"monthly_budget_usd": budget / 1e6})
        reaper = Reaper(place, dice)
        watching = asyncio.ensure_future(_watch(place, budget, broken))
        runs = [Run(number, "ran") for number in range(jobs)]
        async with asyncio.timeout(seconds + PATIENCE), asyncio.TaskGroup() as group:
            reaping = group.create_task(reaper.reap(begun + seconds))
            for run in runs:
                group.create_task(_job(place, file.id, run))
                await asyncio.sleep(seconds * 0.9 / jobs)
            await reaping
        await asyncio.sleep(1.0)
        watching.cancel()
        report.add(runs)
        account = keys.money(PROJECT, month_of(int(time.time())))
        held, spent, *_ = await place.store.redis.eval(_SUMS, 1, account)
        if held:
            broken.add(f"{held} are held though all jobs have ended")
        report.broken += sorted(broken)
        report.notes.append(f"Budget {budget}, spent {spent} (millionths of a USD); killed: {dict(reaper.killed)}.")
        report.logs = "".join(program.said() for program in [place.service, *place.workers]) if broken else ""
    report.seconds = time.monotonic() - begun
    return report
