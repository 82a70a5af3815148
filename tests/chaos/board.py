"""Judges what the proxies see: whose it is, what it is called, and whether a fault strikes now."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.chaos import processes
from tests.chaos.faults import STOP_SECONDS, Fault, Phase, Run
from tests.chaos.names import Whose

#: What one process does for all jobs: faults of several jobs strike it one after the other. A poll writes the ends.
SHARED = (" look", ": whole", ": claim", "commit job settled -intent")


class Struck(Exception):
    """The fault has been carried out: nothing more passes on this connection."""


class Board:
    """All runs of a batch. `supervisor` and `api` tell the pids of those programs now."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.whose = Whose()
        self.points: Counter[tuple[str, str]] = Counter()  #: (scenario, `<who>: <what>`), as often as it was seen
        self.supervisors: Callable[[], list[int]] = list
        self.api: Callable[[], int] = int
        self.clocks: set[int] = set()

    def add(self, run: Run, *marks: str) -> None:
        self.runs[run.number] = run
        for mark in (run.mark, *marks):
            self.whose.learn(mark, run.number)

    def who(self, pid: int) -> str:
        if not pid:
            return "work-horse"
        if pid == self.api():
            return "API"
        if pid in self.clocks:
            return "clock"
        above = processes.parent(pid)
        return "worker" if above in self.supervisors() else "work-horse"

    def awaits(self, what: str, texts: Sequence[bytes]) -> bool:
        """Whether a fault is still to strike here: only then it matters which process it is, which is dear to find."""
        point = f"work-horse: {what}"
        runs = [self.runs[number] for number in self.whose.of(texts)]
        return any(run.fault and run.fault.struck_at is None and run.fault.point == point for run in runs)

    async def see(self, pid: int, what: str, phase: Phase, texts: Sequence[bytes]) -> None:
        """Raises Struck when this was somebody's point. `pid` 0: not known, and a work-horse's."""
        if what.startswith("claim"):
            if self.who(pid) == "worker":
                self.clocks.add(pid)
            texts = texts if phase == "after" else []
        who = self.who(pid)
        point = f"{who}: {what}"
        numbers = self.whose.of(texts)
        # Done for all jobs at once: the next one that comes by is anybody's.
        anybodys = what.endswith(" look") or (what.startswith("claim") and phase == "before")
        for run in [self.runs[number] for number in numbers] if not anybodys else list(self.runs.values()):
            self.points[run.scenario, point] += 1
            if run.number in numbers:
                self._retaken(run, pid, who, what, phase, texts)
            if what == "POST /fine_tuning/jobs" and run.asked_at is None:
                run.asked_at = time.monotonic()
            elif what.startswith("commit job tracked") and phase == "after" and run.known_at is None:
                run.known_at = time.monotonic()
            fault = run.fault
            if pid and fault and fault.struck_at is None and (fault.point, fault.phase) == (point, phase):
                await self._strike(fault, pid)

    def _retaken(self, run: Run, pid: int, who: str, what: str, phase: Phase, texts: Sequence[bytes]) -> None:
        """Somebody else has got hold of it: what counts as taken up again."""
        fault = run.fault
        if fault is None or fault.struck_at is None or run.retaken_at is not None or pid == fault.struck_pid:
            return
        took = what.startswith(("take", "claim")) and phase == "after" and re.search(rb":1\r\n|delivery:", texts[-1])
        if (who == "work-horse" and took) or who == "API":
            run.retaken_at = time.monotonic()

    async def _strike(self, fault: Fault, pid: int) -> None:
        fault.struck_at, fault.struck_pid = time.monotonic(), pid
        if fault.point.endswith(SHARED):
            for run in self.runs.values():
                if run.fault and run.fault.point.endswith(SHARED) and run.fault.struck_at and run.retaken_at is None:
                    run.fault.last_struck_at = fault.struck_at
        if fault.action == "stop":
            processes.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(STOP_SECONDS)
            processes.kill(pid, signal.SIGCONT)
            return
        if fault.action == "kill+parent" and self.who(pid) == "work-horse":
            processes.kill(processes.parent(pid))
        elif fault.action == "kill+parent":
            for child in processes.children(pid):
                processes.kill(child)
        if fault.kills:
            processes.kill(pid)
        raise Struck
