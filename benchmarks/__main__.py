"""Runs every benchmark and writes docs/benchmarks.md, unless the machine is not quiet.

    python -m benchmarks [--print] [PROGRAM ...]

About 9 minutes on two idle cores. `--print` shows the page instead of writing it, on any machine; so does a choice of
programs. Exit status: 1 if a program failed, 3 if the machine was not quiet. A goal that is not reached is a row of the
page, no failure.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.goals import GOALS, Goal
from benchmarks.machine import Meter, Usage, described, too_loaded

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by `make bench` -->", "<!-- end of what `make bench` writes -->"
PROGRAM_SECONDS = 300
NOT_QUIET = 3
_FIGURE = re.compile(r"^figure (\S+) (\S+) \| (.*) \| wanted .*$", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    name: str
    output: str
    seconds: float
    usage: Usage

    @property
    def figures(self) -> dict[str, tuple[float, str, str]]:
        """Name → value, its text, and what it was compared with."""
        return {name: (float(text), text, beside) for name, text, beside in _FIGURE.findall(self.output)}


def run(name: str) -> Ran:
    """Runs one program. Raises CalledProcessError, TimeoutExpired, or ValueError for a figure that is missing."""
    print(f"{name} …", file=sys.stderr, flush=True)
    begun = time.monotonic()
    with Meter() as meter:
        told = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=PROGRAM_SECONDS,
        )
    ran = Ran(name, told.stdout, time.monotonic() - begun, meter.usage)
    missing = [goal.figure for goal in GOALS[name] if goal.figure not in ran.figures]
    if missing:
        raise ValueError(f"benchmarks.{name} printed no figure for {', '.join(missing)}")
    print(f"{told.stdout}{meter.usage.noise or 'quiet'}\n", file=sys.stderr, flush=True)
    return ran


def page(runs: list[Ran]) -> str:
    """Returns the part of the page that is made of figures."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    today = datetime.datetime.now(datetime.UTC).date()
    lines = ["## Goals", "", "| what | goal | seen | | beside | program |", "|---|---|---|---|---|---|"]
    lines += [_row(goal, ran) for ran in runs for goal in GOALS[ran.name]]
    lines += ["", "## The run", "", "| | |", "|---|---|", f"| when | {today}, version {commit.stdout.strip()} |"]
    lines += [f"| {name} | {words} |" for name, words in described()]
    lines += ["", "| command | took | load before | highest | CPU of others | stolen |", "|---|---|---|---|---|---|"]
    for ran in runs:
        usage = ran.usage
        lines.append(
            f"| `python -m benchmarks.{ran.name}` | {ran.seconds:.0f} s | {usage.load_before:.1f} "
            f"| {usage.load_highest:.1f} | {usage.others:.0%} | {usage.steal:.0%} |"
        )
    lines += ["", "## What the programs said", ""]
    for ran in runs:
        text = _FIGURE.sub("", ran.output).strip()
        lines += [f"`{ran.name}`:", "", "```text", text, "```", ""]
    return "\n".join(lines)


def _row(goal: Goal, ran: Ran) -> str:
    value, text, beside = ran.figures[goal.figure]
    reached = "reached" if goal.is_reached(value) else "**not reached**"
    return f"| {goal.what} | {goal.wanted} | {text}{goal.unit} | {reached} | {beside} | `{ran.name}` |"


def write(made: str) -> None:
    """Replaces the figures of the page; what was written by hand stays."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has lost its marks {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}")


def refuse(why: str) -> int:
    print(f"Nothing is written: {why}. Run it on a quiet machine, or with --print to see it only.", file=sys.stderr)
    return NOT_QUIET


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the page on any machine")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"some of {', '.join(GOALS)}: printed only")
    asked = parser.parse_args()
    unknown = set(asked.programs) - set(GOALS)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    only_print = asked.only_print or bool(asked.programs)
    if not only_print and (why := too_loaded()):
        return refuse(why)
    runs: list[Ran] = []
    for name in asked.programs or GOALS:
        try:
            runs.append(run(name))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, ValueError) as error:
            print(f"{error}\n{getattr(error, 'stdout', '') or ''}\nNothing is written.", file=sys.stderr)
            return 1
        if not only_print and (noise := runs[-1].usage.noise):
            return refuse(f"while {name} ran, {noise}")
    if only_print:
        print(page(runs))
    else:
        write(page(runs))
        print(f"{PAGE.relative_to(ROOT)} is written.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
