"""Creates a second at an upstream, by one worker as it is shipped.

    python -m benchmarks.creates [--jobs 200]

API, scheduler and one worker run as deployed, on a Valkey that writes to disk before it answers; the simulator is the
upstream. The jobs are submitted while the worker is stopped, so that only the worker's rate shows; the rate is that of
the creates which the simulator took, from the first to the last. The dataset is there already.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks.goals import figure
from benchmarks.look import Simulated, side_by_side
from benchmarks.table import table
from benchmarks.told import Client, tracked
from benchmarks.town import HEADERS, Town, town
from tests.fakes.deployment import simulator_process

SECONDS = 200.0


def children_seconds() -> float:
    """Returns the CPU of the children that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


async def created(owner: Simulated) -> list[float]:
    """Returns when the simulator took each create."""
    asked = (await owner.call("GET", "/simulator/requests"))["data"]
    return [row["at"] for row in asked if row["method"] == "POST" and str(row["path"]).endswith("/fine_tuning/jobs")]


async def measure(here: Town, root: str, count: int) -> None:
    assert here.worker
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        aiohttp.ClientSession(headers={"Authorization": "Bearer sk-owner"}) as owner,
    ):
        client, simulated = Client(here.url, session), Simulated(root, owner)
        file_id = await client.file()
        await tracked(client, [await client.submit(file_id, None)])  # the dataset is there from now on
        here.worker.stop()
        before = len(await created(simulated))
        await side_by_side([client.submit(file_id, None) for _ in range(count)])
        cpu = children_seconds()
        here.worker.start()
        until = time.monotonic() + SECONDS
        while len(found := await created(simulated)) < before + count:
            assert time.monotonic() < until, f"{len(found) - before} of {count} creates within {SECONDS:.0f} s"
            await asyncio.sleep(0.2)
        times = sorted(found)[before:]
    assert len(times) == count, f"{len(times)} creates for {count} jobs"
    here.worker.stop()
    cpu, seconds = children_seconds() - cpu, times[-1] - times[0]
    rows = [
        ("", "a second", "seconds", "CPU of the worker, its start and estimates included"),
        ("creates", f"{(count - 1) / seconds:.0f}", f"{seconds:.1f}", f"{cpu:.1f} s"),
    ]
    table(f"{count} jobs that wait, one worker", rows)
    figure("creates", (count - 1) / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.creates", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        simulator_process(Path(name), "openai", "--slots", "0", forked=False) as root,
        town(Path(name), root, workers=1) as here,
    ):
        asyncio.run(measure(here, root, asked.jobs))


if __name__ == "__main__":
    main()
