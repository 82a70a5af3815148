"""How much Redis memory a finished job takes, until retention removes it. `python -m benchmarks.memory_per_job [jobs]`

Jobs on datasets of their own, through the story and a simulated upstream in this process; each with a callback that is
delivered nowhere. Prints bytes per job by kind of key, for as many events as such a job has.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from cli.valkey_process import connect
from simulator.clock import Clock
from tests.fakes.context import opened_context
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import valkey_server
from tests.integration.maintenance.test_retention import finished, stored


async def jobs(url: str, simulator: Simulator, directory: Path, count: int) -> None:
    async with opened_context(url, directory, upstreams={"openai": simulator.base_url}) as ctx:
        for _ in range(count):
            await finished(ctx, simulator, await stored(ctx))


async def _run(url: str, directory: Path, count: int) -> None:
    async with running_simulator(clock=Clock(time.time), speed=1, slots=0) as simulator:
        await jobs(url, simulator, directory, 3)  # scripts, indexes and pools are there from now on
        with connect(url) as client:
            before, first = client.info("memory")["used_memory"], kinds(url)
        await jobs(url, simulator, directory, count)
        with connect(url) as client:
            after, last = client.info("memory")["used_memory"], kinds(url)
    for kind, used in sorted((last - first).items(), key=lambda row: -row[1]):
        print(f"{used / count:10.0f} bytes  {kind}")
    print(
        f"{(after - before) / count:10.0f} bytes  in all, as Redis counts its memory, per finished job ({count} jobs)"
    )


def kinds(url: str) -> Counter[str]:
    """Bytes by what stands between the first two colons of a key."""
    found: Counter[str] = Counter()
    with connect(url) as client:
        for key in client.scan_iter(match="th:*"):
            found[key.decode().split(":")[1]] += int(client.memory_usage(key, samples=0) or 0)
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as name, valkey_server(Path(name) / "valkey") as valkey:
        asyncio.run(_run(valkey.url, Path(name), count))


if __name__ == "__main__":
    main()
