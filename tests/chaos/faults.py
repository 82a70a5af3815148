"""What is done to a run, when, and what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

#: before: the command or call has not gone out; after: it has taken effect, and its answer has not come back.
Phase = Literal["before", "after"]
#: kill: SIGKILL of whoever said it (a work-horse, the clock, RQ's worker, the API); +parent: and of the worker above
#: it; drop: the connection is closed, nobody dies; stop: SIGSTOP for longer than a lease.
Action = Literal["kill", "kill+parent", "drop", "stop"]
STOP_SECONDS = 17.0
#: What an upstream answers whose reason to wait is known: no create is in doubt.
BUSY = ("rate_limit_exceeded:2*1", "slow_down:2*1", "file_not_ready*1")


@dataclass
class Fault:
    """Strikes once, where a run comes by its point for the first time."""

    point: str  #: `<who>: <what>`, as names.py calls it
    phase: Phase
    action: Action
    struck_at: float | None = None
    struck_pid: int = 0
    last_struck_at: float = 0.0  #: at a point that all share: the last of them that was struck, until it was taken up

    @property
    def kills(self) -> bool:
        return self.action.startswith("kill")


@dataclass
class Run:
    """One job with one fault, and what is seen of it from outside."""

    number: int
    scenario: str
    fault: Fault | None = None
    simulate: str | None = None
    job_id: str | None = None
    retaken_at: float | None = None
    asked_at: float | None = None  #: its first create went out
    known_at: float | None = None  #: and what came of it was recorded
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)  #: what should have held and did not
    extras: int = 0
    checked: bool = False

    @property
    def mark(self) -> str:
        return f"run-{self.number:05d}"

    @property
    def what(self) -> str:
        """Its row of the table."""
        if self.fault:
            return f"{self.fault.point}|{self.fault.phase}|{self.fault.action}"
        return f"{self.scenario}|{self.simulate or '–'}|–"

    @property
    def taken_up_after(self) -> float | None:
        """Seconds from a kill (or a lost answer) until somebody else took hold of it; None where nobody had to.

        From the last one, where several in a row strike what there is only one of, such as an upstream's look.
        """
        if self.fault is None or self.fault.struck_at is None or self.retaken_at is None or self.fault.action == "stop":
            return None
        return self.retaken_at - max(self.fault.struck_at, self.fault.last_struck_at)

    @property
    def decided_after(self) -> float | None:
        """Seconds from its first create until its job is known; None where an upstream made it wait for something."""
        if self.asked_at is None or self.known_at is None or self.simulate in BUSY:
            return None
        return self.known_at - self.asked_at
