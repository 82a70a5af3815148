"""Reports a run: point × fault × runs × result, as text and as a dated page beside docs/guarantees.md."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import Run

ABOUT = "Written by the runs. [guarantees.md](guarantees.md) says what they prove and how to read them."
HEADINGS = {
    "matrix": "The matrix",
    "soak": "Random kills",
    "vendors": "Vendors",
    "moving": "Moving an account",
    "budgets": "Budgets",
    "failover-1": "Loss of Redis' machine, confirmed by one replica",
    "failover-0": "Loss of Redis' machine, not confirmed",
}


@dataclass
class Report:
    title: str
    name: str  #: of its place in the page
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    logs: str = ""
    seconds: float = 0.0

    def add(self, runs: list[Run]) -> None:
        self.runs += runs
        self.broken += [f"{run.mark} {run.what}: {fault}" for run in runs for fault in run.broken]

    @property
    def taken_up(self) -> list[float]:
        return sorted(seconds for run in self.runs if (seconds := run.taken_up_after) is not None)

    def summary(self) -> list[str]:
        struck = [run for run in self.runs if run.fault and run.fault.struck_at]
        failed = sum(bool(run.broken) for run in self.runs)
        missed = sum(run.fault is not None for run in self.runs) - len(struck)
        lines = [f"{len(self.runs) - missed} runs, {len(struck)} of them struck at a point; {failed} broke a promise."]
        if missed:
            lines.append(f"{missed} more jobs never came by the point where something waited for them; they held too.")
        extras = sum(run.extras for run in self.runs)
        lines.append(
            f"Extra jobs at the upstream: {extras}, all cancelled and told."
            if not self.broken
            else f"Extra jobs: {extras}."
        )
        if self.taken_up:
            half = self.taken_up[len(self.taken_up) // 2]
            lines.append(f"Taken up again after {half:.1f} s in the middle and {self.taken_up[-1]:.1f} s at most.")
        return lines + self.notes

    def table(self) -> str:
        rows = defaultdict(list)
        for run in self.runs:
            rows[run.what].append(run)
        lines = [
            "| point | when | what is done | runs | held | extra jobs | taken up again, at most |",
            "|---|---|---|---|---|---|---|",
        ]
        for what, runs in sorted(rows.items()):
            taken = [run.taken_up_after for run in runs if run.taken_up_after is not None]
            slowest = f"{max(taken):.1f} s" if taken else ""
            held = sum(not run.broken for run in runs if run.fault is None or run.fault.struck_at)
            extras = sum(run.extras for run in runs) or ""
            reached = [run for run in runs if run.fault is None or run.fault.struck_at]
            if not reached:
                continue
            lines.append(f"| {' | '.join(what.split('|'))} | {len(reached)} | {held} | {extras} | {slowest} |")
        return "\n".join(lines)

    def text(self) -> str:
        return "\n".join([self.title, *self.summary(), *self.broken, "", self.table()])

    def write_into(self, page: Path) -> None:
        """Writes its part of the page, between `<!-- name -->` and `<!-- /name -->`; makes what is not there yet."""
        when = time.strftime("%Y-%m-%d", time.gmtime())
        body = "\n".join(
            [
                f"Run of {when}, {self.seconds / 60:.0f} minutes on two shared cores.",
                "",
                *(f"- {line}" for line in self.summary()),
                "",
                self.table(),
            ]
        )
        text = page.read_text("utf-8") if page.exists() else f"# Results of the attacks, {when}\n\n{ABOUT}\n"
        if f"<!-- {self.name} -->" not in text:
            text += f"\n## {HEADINGS[self.name]}\n\n<!-- {self.name} -->\n<!-- /{self.name} -->\n"
        found = re.sub(
            rf"<!-- {self.name} -->.*?<!-- /{self.name} -->",
            lambda _: f"<!-- {self.name} -->\n{body}\n<!-- /{self.name} -->",
            text,
            flags=re.DOTALL,
        )
        page.write_text(found, "utf-8")
