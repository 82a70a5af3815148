"""`python -m tests.chaos`: the matrix. `--runs N` bounds it, `--soak MINUTES --jobs N` is the random-kill run.

`--vendors N` attacks N jobs at each other vendor's fake. `--moving N` imports and retrains N jobs under kills.
`--budgets N` submits N jobs on a budget for a quarter of them. `--failover N` destroys Redis' primary with its disk N
times; `--replicas 0` does so without asking its replica to confirm.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos import budgets, failover, matrix, moving, soak, vendors


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=600, help="at least so many runs of the matrix (600)")
    parser.add_argument("--at-once", type=int, default=40, help="jobs in one deployment at a time (40)")
    parser.add_argument("--only", default="", help="points that contain this text")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="kill at random for so long instead")
    parser.add_argument("--vendors", type=int, metavar="JOBS", help="so many jobs at each vendor instead")
    parser.add_argument("--moving", type=int, metavar="JOBS", help="import and retrain so many jobs instead")
    parser.add_argument("--budgets", type=int, metavar="JOBS", help="so many jobs on a budget instead")
    parser.add_argument("--failover", type=int, metavar="TIMES", help="lose Redis' machine so often instead")
    parser.add_argument("--replicas", type=int, default=1, help="with --failover: TUNEHOOK_REPLICAS (1)")
    parser.add_argument("--jobs", type=int, default=1000, help="with --soak: how many jobs (1000)")
    parser.add_argument("--table", type=Path, help="write the results into this page (docs/guarantees-<date>.md)")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="tunehook-chaos-") as directory:
        if asked.soak:
            report = asyncio.run(soak.soak(Path(directory), minutes=asked.soak, jobs=asked.jobs, page=asked.table))
        elif asked.vendors:
            report = asyncio.run(vendors.attack(Path(directory), jobs=asked.vendors, kills=4))
        elif asked.budgets:
            report = asyncio.run(budgets.spend(Path(directory), jobs=asked.budgets))
        elif asked.failover:
            report = asyncio.run(failover.lose_redis(Path(directory), times=asked.failover, replicas=asked.replicas))
        elif asked.moving:
            report = asyncio.run(moving.move(Path(directory), jobs=asked.moving))
        else:
            report = asyncio.run(
                matrix.attack(Path(directory), runs=asked.runs, at_once=asked.at_once, only=asked.only)
            )
        print(report.text())  # noqa: T201
        if asked.table:
            report.write_into(asked.table)
        if report.broken:
            Path("chaos.log").write_text(report.logs)
            print("the programs' logs are in ./chaos.log")  # noqa: T201
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
