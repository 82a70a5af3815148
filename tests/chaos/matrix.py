"""The matrix: every point that a job passes by, before and after, each in every way that something can end."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.chaos import disturbances
from tests.chaos.drive import drive
from tests.chaos.faults import Action, Fault, Phase, Run
from tests.chaos.report import Report
from tests.chaos.town import Town, faketime, town

#: Ways that a job goes: each has points that others have not. The text is the simulator's (docs/simulator.md).
SCENARIOS: dict[str, str | None] = {
    "plain": None,
    "unknown": "after_reset*1",
    "waits": "rate_limit_exceeded:2*1",
    "cancel": "stall",
}
WAYS: tuple[tuple[Phase, Action], ...] = (
    ("before", "kill"),
    ("before", "kill+parent"),
    ("after", "kill"),
    ("after", "kill+parent"),
    ("after", "drop"),
)
#: What only a dataset above 100 MB passes by, and in which ways: each costs a hundred megabytes.
IN_PARTS = ("POST /uploads", "POST /uploads/…/parts", "POST /uploads/…/complete")
IN_PARTS_WAYS: tuple[tuple[Phase, Action], ...] = (("before", "kill+parent"), ("after", "kill"), ("after", "drop"))
#: Nobody but a work-horse has somebody above it whose death makes a difference.
LONERS = ("API", "clock")
#: What an upstream does to the one call that costs money; each answer after having created, and without.
UPSTREAM_FAULTS = (
    [f"{after}{fault}*1" for fault in ("reset", "malformed", "hang:3") for after in ("", "after_")]
    + [f"{after}http_{status}*1" for status in (408, 409, 500, 502, 503, 504) for after in ("", "after_")]
    # Late, and within the settle time: what lands later than that is an extra, which these jobs of half a second
    # would end before it is found (tests/e2e/story/test_unknown_outcome.py has one that lives long enough).
    + [f"late_http_{status}:1.5*1" for status in (408, 409, 500, 502, 503, 504)]
    + ["late_reset:1.5*1", "late_malformed:1*1", "after_rate_limit_exceeded:2*1", "rate_limit_exceeded:2*1"]
    + ["slow_down:2*1", "server_is_overloaded:2*1", "late_rate_limit_exceeded:5*1", "file_not_ready*1", "list_lag:6"]
)


class Matrix:
    def __init__(self, place: Town, report: Report, at_once: int, numbers: Iterator[int] | None = None) -> None:
        self._place = place
        self.report = report
        self._at_once = at_once
        self._numbers = numbers or itertools.count(1)

    def run(self, scenario: str, fault: Fault | None = None, simulate: str | None = None) -> Run:
        asked = simulate if simulate is not None else SCENARIOS.get(scenario)
        return Run(next(self._numbers), scenario, fault, asked)

    async def carry_out(self, runs: Sequence[Run]) -> None:
        """Some side by side, a few starting each second: those that are killed wait for a lease's end anyway."""
        gate = asyncio.Semaphore(self._at_once)

        async def _one(run: Run) -> None:
            async with gate:
                await drive(self._place, run)
            sys.stdout.write(f"{run.mark} {run.seconds:6.1f} s {run.what} {' '.join(run.broken) or 'held'}\n")

        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(_one(run))
                await asyncio.sleep(0.15)
        self.report.add(list(runs))

    async def in_parts(self) -> None:
        """Few at a time: this program hands on each part as a whole."""
        faults = [Fault(f"work-horse: {point}", phase, action) for point in IN_PARTS for phase, action in IN_PARTS_WAYS]
        runs = [self.run("in parts", fault) for fault in faults]
        await Matrix(self._place, self.report, 2, self._numbers).carry_out(runs)

    async def points(self) -> list[tuple[str, str]]:
        """(scenario, point) of every point, found by watching each scenario undisturbed; each in one scenario only."""
        await self.carry_out([self.run(scenario) for scenario in SCENARIOS for _ in range(2)])
        found: dict[str, str] = {}
        for scenario in SCENARIOS:
            for seen_in, point in sorted(self._place.board.points):
                if seen_in == scenario:
                    found.setdefault(point, scenario)
        return [(scenario, point) for point, scenario in found.items()]

    async def disturbed(self, away: float = 30.0) -> None:
        """What strikes all jobs at once, a dozen of them in flight each time."""
        place, report = self._place, self.report
        stops = disturbances.stops(next(self._numbers))
        self._numbers = itertools.count(stops[-1].number + 1)
        await self.carry_out(stops)
        for disturbance, at in (("killed", [0.5, 2.0, 4.0, 7.0]), ("unreadable", [1.0])):
            runs = [self.run(f"Redis {disturbance}" if disturbance == "killed" else disturbance) for _ in range(12)]
            report.broken += await disturbances.during(place, runs, at, disturbance)
            report.add(runs)
        for name, seconds in (("refuses", away), ("hangs", away / 3), ("full", away / 3)):
            runs = [self.run(f"Redis {name} for {seconds:.0f} s") for _ in range(8)]
            async with asyncio.TaskGroup() as group:
                for run in runs:
                    group.create_task(drive(place, run))
                await asyncio.sleep(2.0)
                wrong, seen = await (
                    disturbances.full(place, seconds) if name == "full" else disturbances.away(place, seconds, name)
                )
            report.add(runs)
            report.broken += wrong
            report.notes.append(f"Redis {name} for {seconds:.0f} s: {seen}.")

    def struck(self, points: Iterable[tuple[str, str]]) -> list[Run]:
        runs = []
        for scenario, point in points:
            for phase, action in WAYS:
                if phase == "before" and "RQ pop" in point:
                    continue  # whose step it will be is not known yet
                if action == "kill+parent" and point.startswith(LONERS):
                    continue
                runs.append(self.run(scenario, Fault(point, phase, action)))
        return runs


async def skewed(directory: Path, matrix: Matrix) -> None:
    """Two hosts whose clocks differ by a minute: nothing but Redis' own time decides."""
    if faketime() is None:
        matrix.report.notes.append("Clocks that differ: not tried, libfaketime is not on this machine.")
        return
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    async with town(directory, skewed=True) as place:
        runs = [matrix.run("clocks differ by 60 s", None, fault) for fault in [None] * 6 + ["after_reset*1"] * 6]
        await Matrix(place, matrix.report, 12).carry_out(runs)


async def attack(directory: Path, *, runs: int, at_once: int, only: str = "") -> Report:
    report = Report("The matrix", "matrix")
    begun = time.monotonic()
    async with town(directory) as place:
        matrix = Matrix(place, report, at_once)
        points = [(scenario, point) for scenario, point in await matrix.points() if only in point]
        report.notes.append(f"{len(points)} points.")
        await matrix.carry_out(matrix.struck(points))
        if not only:
            await matrix.carry_out([matrix.run("upstream", None, fault) for fault in UPSTREAM_FAULTS])
            await matrix.disturbed()
            await matrix.in_parts()
            while len(report.runs) < runs:
                await matrix.carry_out(matrix.struck(points)[: runs - len(report.runs)])
        if not only:
            await skewed(directory / "skew", matrix)
        if place.forgotten:
            report.broken.append(f"without a due entry: {sorted(place.forgotten)}")
        report.logs = "".join(program.said() for program in [place.service, *place.workers])
    report.seconds = time.monotonic() - begun
    return report
