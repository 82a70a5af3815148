"""The goals: what each figure should be, and which program takes it."""

from __future__ import annotations

from typing import NamedTuple


class Goal(NamedTuple):
    figure: str  #: its name in the line that the program prints
    what: str
    sign: str  #: "≥" or "≤"
    limit: float
    unit: str = ""

    @property
    def wanted(self) -> str:
        return f"{self.sign} {self.limit:g}{self.unit}"

    def is_reached(self, seen: float) -> bool:
        return seen >= self.limit if self.sign == "≥" else seen <= self.limit


#: Program → its goals, in the order of the run. None of them guards none.
GOALS: dict[str, list[Goal]] = {
    "api": [
        Goal("get", "`GET` of a job by CPU, × the bare handler", "≥", 1.0),
        Goal("post", "`POST` of a job by CPU, × the bare handler", "≥", 0.6),
    ],
    "look": [
        Goal("look-requests", "requests of one poll of 10,000 live jobs, beside the events of 50", "≤", 100),
        Goal("look", "CPU of that poll", "≤", 0.5, " s"),
    ],
    "up": [
        Goal("up", "`tunehook up` is ready", "≤", 2, " s"),
        Goal("up-cpu", "… CPU until then", "≤", 3, " s"),
        Goal("help", "`tunehook --help`, CPU", "≤", 0.3, " s"),
    ],
    "dataset_check": [
        Goal("chat", "check of a dataset: chat, × `json.loads`", "≥", 1.5),
        Goal("tools", "… with tool calls, × `json.loads`", "≥", 0.7),
        Goal("chat-tokens", "… chat, o200k tokens counted", "≥", 60, " MB/s"),
        Goal("tools-tokens", "… tool calls, o200k tokens counted", "≥", 40, " MB/s"),
        Goal("check-memory", "… memory above that for 1 MB", "≤", 64, " MiB"),
    ],
    "upload": [
        Goal("in", "512 MB in, × the same stream hashed and written", "≥", 0.8),
        Goal("in-memory", "… growth of the API", "≤", 64, " MiB"),
        Goal("out", "512 MB out, × one plain request", "≥", 0.8),
        Goal("out-memory", "… growth of the worker", "≤", 64, " MiB"),
    ],
    "beside": [Goal("beside", "p99 of 80 mixed calls a second beside an upload of 512 MB", "≤", 100, " ms")],
    "creates": [Goal("creates", "creates a second at an upstream, one worker as shipped", "≥", 60)],
    "deliveries": [
        Goal("deliveries", "deliveries a second of two workers, × two bare clients", "≥", 0.5),
        Goal("dead", "longest delay of a live endpoint beside 1,000 that hang", "≤", 1000, " ms"),
    ],
    "told": [
        Goal("polled", "end → webhook, polls every 2 s, median", "≤", 1.3, " s"),
        Goal("called", "… the upstream calls us, median", "≤", 0.2, " s"),
    ],
    "burst": [
        Goal("burst", "the same for one project behind 1,000 jobs of another, polls every 1 s, longest", "≤", 3, " s")
    ],
}


def figure(name: str, value: float, beside: str = "") -> None:
    """Prints a figure with its goal, as the runner reads it. `beside`: what it was compared with."""
    goal = next(goal for goals in GOALS.values() for goal in goals if goal.figure == name)
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
    reached = "reached" if goal.is_reached(value) else "NOT REACHED"
    print(f"figure {name} {text} | {beside} | wanted {goal.wanted}: {reached}", flush=True)
