"""Redis' machine is lost, with its disk: at random moments, under load, in half of the cases cut off from its replica.

A Sentinel promotes the replica, and an empty one joins in place of the lost server. Without replicas that have to
confirm, what was written after the cut is gone; the report counts what that cost.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.chaos.drive import Patience, drive
from tests.chaos.faults import Run
from tests.chaos.report import Report
from tests.chaos.town import Town, town
from tests.fakes.sentinel import Replicated, replicated

#: Seconds between two jobs and until the next loss, on average; and how long a primary lives without its replica.
BETWEEN_JOBS, UNTIL_LOSS, CUT_OFF = 3.0, 1.0, 1.0
#: Seconds for a job's end after the last loss, and for its webhook.
PATIENCE = 600.0
SETTLE = 20.0


async def lose_redis(directory: Path, *, times: int, replicas: int, seed: int = 1) -> Report:
    """Loses the primary `times` times, under load. Each job is driven and checked as in the soak."""
    report = Report(f"Redis' machine lost {times} times, TUNEHOOK_REPLICAS={replicas}", f"failover-{replicas}")
    begun, dice = time.monotonic(), random.Random(seed)  # noqa: S311
    runs: list[Run] = []
    with replicated(directory / "redis") as servers:
        async with town(directory, settle=SETTLE, redis_url=servers.url, replicas=replicas) as place:
            losing = asyncio.ensure_future(_lose(servers, times, dice))
            async with asyncio.TaskGroup() as group:
                while not losing.done():
                    runs.append(Run(len(runs) + 1, "plain"))
                    group.create_task(_drive(place, runs[-1], times * 30 + PATIENCE))
                    await asyncio.sleep(dice.expovariate(1 / BETWEEN_JOBS))
            away = await losing
            report.notes.append(await _account(place, runs))
            if place.forgotten:
                report.broken.append(f"without a due entry: {sorted(place.forgotten)}")
            report.logs = "".join(program.said() for program in [place.service, *place.workers])
    report.add(runs)
    away.sort()
    report.notes.append(
        f"A primary was missed for {away[len(away) // 2]:.1f} s in the middle, {away[-1]:.1f} s at most."
    )
    report.seconds = time.monotonic() - begun
    return report


async def _lose(servers: Replicated, times: int, dice: random.Random) -> list[float]:
    """Returns for how many seconds there was no primary, each time."""
    away: list[float] = []
    for number in range(1, times + 1):
        await asyncio.to_thread(servers.wait_until_safe)
        await asyncio.sleep(dice.expovariate(1 / UNTIL_LOSS))
        if dice.random() < 0.5:
            await asyncio.to_thread(servers.cut_off_replicas)
            await asyncio.sleep(dice.random() * CUT_OFF)
        lost = await asyncio.to_thread(servers.destroy_primary)
        begun = time.monotonic()
        await asyncio.to_thread(servers.wait_until_promoted, lost)
        away.append(time.monotonic() - begun)
        await asyncio.to_thread(servers.join_fresh, lost)
        sys.stdout.write(f"loss {number}: {away[-1]:.1f} s without a primary\n")
        sys.stdout.flush()
    await asyncio.to_thread(servers.wait_until_safe)
    return away


async def _drive(place: Town, run: Run, seconds: float) -> None:
    await drive(place, run, Patience(end=seconds, hook=PATIENCE, poll=20.0))
    run.checked = True
    sys.stdout.write(f"{run.mark} {run.seconds:6.1f} s {' '.join(run.broken) or 'held'}\n")
    sys.stdout.flush()


async def _account(place: Town, runs: list[Run]) -> str:
    """Counts what was lost, and jobs that were paid twice: also those that a client had to ask for twice."""
    accepted = [run for run in runs if run.job_id]
    paid = Counter(
        str(job["metadata"].get("run"))
        for job in await place.upstream_jobs()
        if job["metadata"] and job["status"] != "cancelled"
    )
    twice = [run for run in runs if paid[run.mark] > 1]
    for run in twice:
        if not run.broken:
            run.broken.append(f"paid {paid[run.mark]} times")
    lost = sum(any("NotFoundError" in fault for fault in run.broken) for run in accepted)
    files = sum(bool(run.broken) for run in runs if not run.job_id)
    unheard = sum(not place.web.hooks[run.mark] for run in accepted)
    return (
        f"{len(accepted)} jobs accepted of {len(runs)} asked for: {lost} of them lost, {len(twice)} paid twice, "
        f"{unheard} without a webhook. {files} uploaded files were lost before their job was accepted."
    )
