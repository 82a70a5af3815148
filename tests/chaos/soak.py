"""The random-kill run: jobs come steadily, and every few seconds something dies, whatever it is doing."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.chaos import processes
from tests.chaos.drive import Patience, drive
from tests.chaos.faults import Run
from tests.chaos.matrix import UPSTREAM_FAULTS
from tests.chaos.report import Report
from tests.chaos.town import Town, town

#: Seconds between two kills, on average; and how long, after the last one, a job may take to end.
PAUSE, PATIENCE = 2.5, 900.0
#: As shipped: what lands late or is stopped for 17 s lands within it. Above DOUBT s, a create's outcome was not known.
SETTLE, DOUBT = 180.0, 5.0
#: What dies, and how often beside the others.
VICTIMS = {
    "work-horse": 30,
    "work-horse and worker": 15,
    "worker": 10,
    "clock": 10,
    "API": 10,
    "supervisor": 4,
    "Redis": 3,
    "work-horse stopped for 17 s": 6,
}


class Reaper:
    def __init__(self, place: Town, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self.killed: Counter[str] = Counter()
        self._stopped: set[asyncio.Task[None]] = set()

    async def reap(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(self._dice.expovariate(1 / PAUSE))
            victim = self._dice.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            if await self._strike(victim):
                self.killed[victim] += 1

    async def _strike(self, victim: str) -> bool:
        place = self._place
        if victim == "Redis":
            await asyncio.to_thread(place.valkey.kill)
            await asyncio.sleep(self._dice.random() * 3)
            await asyncio.to_thread(place.valkey.restart)
            return True
        if victim in ("API", "supervisor"):
            program = place.service if victim == "API" else self._dice.choice(place.workers)
            if program.ended:
                return False
            processes.kill(program.pid)
            return True
        return self._strike_below(victim)

    def _strike_below(self, victim: str) -> bool:
        supervisors = [program.pid for program in self._place.workers if not program.ended]
        workers = [pid for supervisor in supervisors for pid in processes.children(supervisor)]
        horses = [pid for worker in workers for pid in processes.children(worker)]
        if victim == "clock":
            workers = [pid for pid in workers if pid in self._place.board.clocks]
        among = horses if victim.startswith("work-horse") else workers
        if not among:
            return False
        pid = self._dice.choice(among)
        if victim == "work-horse and worker":
            processes.kill(processes.parent(pid))
        if victim.startswith("work-horse stopped"):
            processes.kill(pid, signal.SIGSTOP)
            task = asyncio.ensure_future(self._go_on(pid))
            self._stopped.add(task)
            return True
        processes.kill(pid)
        return True

    async def _go_on(self, pid: int) -> None:
        await asyncio.sleep(17)
        with suppress(ProcessLookupError):
            processes.kill(pid, signal.SIGCONT)


async def soak(directory: Path, *, minutes: float, jobs: int, page: Path | None = None, seed: int = 1) -> Report:
    """What has come of it so far is written into `page` each minute: a run that is cut short is seen to be."""
    report = Report(f"{jobs} jobs in {minutes:g} minutes of random kills", "soak")
    begun, dice = time.monotonic(), random.Random(seed)  # noqa: S311
    async with town(directory, settle=SETTLE) as place:
        reaper = Reaper(place, dice)
        until = begun + minutes * 60
        reaping = asyncio.ensure_future(reaper.reap(until))
        runs = [_job(number, dice) for number in range(1, jobs + 1)]
        patience = Patience(end=minutes * 60 + PATIENCE, hook=PATIENCE, poll=20.0)
        telling = asyncio.ensure_future(_tell(place, reaper, report, runs, page))
        async with asyncio.TaskGroup() as group:
            for number, run in enumerate(runs):
                group.create_task(_drive(place, run, patience))
                # The last jobs come early enough to be killed as well.
                await asyncio.sleep(max(0.0, begun + minutes * 54 * number / jobs - time.monotonic()))
            await reaping
        telling.cancel()
        report.add(runs)
        killed = ", ".join(f"{name} {count}" for name, count in reaper.killed.most_common())
        report.notes.append(f"Killed: {killed}.")
        times = sorted(run.seconds for run in runs)
        report.notes.append(f"A job took {times[len(times) // 2]:.0f} s in the middle, {times[-1]:.0f} s at most.")
        report.notes.append(_decided(runs))
        hooks = sum(len(place.web.hooks[run.mark]) for run in runs)
        report.notes.append(f"{hooks} webhooks came for {len(runs)} jobs.")
        if place.forgotten:
            report.broken.append(f"without a due entry: {sorted(place.forgotten)}")
        report.logs = "".join(program.said() for program in [place.service, *place.workers])
    report.seconds = time.monotonic() - begun
    return report


def _decided(runs: list[Run]) -> str:
    times = sorted(seconds for run in runs if (seconds := run.decided_after or 0.0) > DOUBT)
    if not times:
        return "No create was in doubt."
    half, late = times[len(times) // 2], sum(seconds > SETTLE + 90 for seconds in times)
    return (
        f"{len(times)} creates were in doubt, some more than once: decided after {half:.0f} s in the middle, "
        f"{times[-1]:.0f} s at most; {late} of them later than the settle time ({SETTLE:.0f} s) + 90 s."
    )


async def _tell(place: Town, reaper: Reaper, report: Report, runs: list[Run], page: Path | None) -> None:
    begun = time.monotonic()
    while page:
        await asyncio.sleep(60)
        ended = [run for run in runs if run.checked]
        so_far = Report(f"{report.title}, so far", report.name)
        so_far.add(ended)
        so_far.seconds = time.monotonic() - begun
        submitted = sum(run.job_id is not None for run in runs)
        so_far.notes.append(f"Not over yet: {submitted} of {len(runs)} jobs submitted, {len(ended)} checked.")
        so_far.notes.append(f"Killed: {sum(reaper.killed.values())}. Without a due entry: {sorted(place.forgotten)}.")
        await asyncio.to_thread(so_far.write_into, page)


async def _drive(place: Town, run: Run, patience: Patience) -> None:
    await drive(place, run, patience)
    run.checked = True
    sys.stdout.write(f"{run.mark} {run.seconds:6.1f} s {run.what} {' '.join(run.broken) or 'held'}\n")
    sys.stdout.flush()


def _job(number: int, dice: random.Random) -> Run:
    match dice.random():
        case share if share < 0.1:
            return Run(number, "cancel", None, "stall")
        case share if share < 0.4:
            return Run(number, "upstream", None, dice.choice(UPSTREAM_FAULTS))
    return Run(number, "plain")
