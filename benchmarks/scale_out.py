"""One to four worker processes, and one to two API processes: what more of them bring, and that nothing is done twice.

    python -m benchmarks.scale_out [--jobs 300] [--calls 2000]

Everything runs as deployed, on a Valkey that writes to disk before it answers; the simulator is the upstream. Jobs are
submitted while no worker runs; then the time is taken until the upstream has all of them, and CPU of all processes of
the worker. Afterwards each job must be at the upstream once. Calls go to the API processes in turn, 32 at a time: half
of them read a job, half submit one. On two cores that others use as well, CPU for each job or call is what can be
compared; rates say no more than that nothing stands in the way of one another.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp

from benchmarks.machine import described
from benchmarks.process import cpu_seconds
from benchmarks.scale import settings
from benchmarks.table import table
from benchmarks.told import Client
from benchmarks.town import HEADERS, Town, town
from tests.fakes.deployment import Program, simulator_process
from tunehook.model.job import Stage
from tunehook.store.store import Store

AT_ONCE = 32
PATIENCE = 600.0


@contextmanager
def program(kind: str, number: int, here: Town, directory: Path, root: str, workers: int) -> Iterator[Program]:
    more = {"TUNEHOOK_PORT": "0", "TUNEHOOK_WORKERS": str(workers)}
    started = Program([kind], settings(here.valkey.url, directory, root) | more, directory / f"{kind}-{number}.log")
    started.start()
    try:
        yield started
    finally:
        started.stop()


async def in_turn(urls: list[str], count: int, *, reads: bool) -> list[str]:
    """Submits `count` jobs, and reads each with `reads`; returns their ids."""
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        clients = [Client(url, session) for url in urls]
        file_id = await clients[0].file()
        left, made = iter(range(count)), []

        async def _caller() -> None:
            for number in left:
                client = clients[number % len(clients)]
                made.append(await client.submit(file_id, None))
                if reads:
                    await clients[(number + 1) % len(clients)].upstream_id(made[-1])

        await asyncio.gather(*(_caller() for _ in range(AT_ONCE)))
        return made


async def until_tracked(here: Town, count: int) -> None:
    store = Store.connect(here.valkey.url)
    try:
        async with asyncio.timeout(PATIENCE):
            while (await store.metrics.read(["openai"])).jobs.get(Stage.TRACKED, 0) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        await store.close()


async def at_upstream(root: str) -> Counter[str]:
    """Returns how often each of our jobs is at the upstream, by the id in its mark."""
    async with aiohttp.ClientSession() as session, session.get(f"{root}/simulator/jobs") as answer:
        rows = (await answer.json())["data"]
    return Counter(str((row["metadata"] or {}).get("tunehook", "")).rpartition("/")[2] for row in rows)


def workers(number: int, jobs: int) -> tuple[str, ...]:
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        simulator_process(Path(name), "openai", "--slots", "0", forked=False) as root,
        town(Path(name), root, workers=0) as here,
    ):
        made = asyncio.run(in_turn([here.url], jobs, reads=False))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with program("worker", number, here, Path(name), root, number):
            begun = time.monotonic()
            asyncio.run(until_tracked(here, jobs))
            seconds = time.monotonic() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the worker with all its processes, since it has ended
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        there = asyncio.run(at_upstream(root))
        wrong = sum(there[job_id] != 1 for job_id in made)
    used = f"{cpu / jobs * 1000:.0f} ms"
    return (
        f"{number} for steps",
        f"{jobs / seconds:.1f} jobs/s",
        used,
        f"{wrong} of {jobs}",
        f"{os.getloadavg()[0]:.0f}",
    )


def apis(number: int, count: int) -> tuple[str, ...]:
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        simulator_process(Path(name), "openai", "--slots", "0", forked=False) as root,
        town(Path(name), root, workers=0) as here,
        ExitStack() as stack,
    ):
        others = [stack.enter_context(program("service", n, here, Path(name), root, 1)) for n in range(1, number)]
        urls = [f"{other.wait_for(r'listening on (http://[^ ,]+)')[1]}/v1" for other in others]
        running = [here.service, *others]
        before = sum(cpu_seconds(one.pid) for one in running)
        begun = time.monotonic()
        made = asyncio.run(in_turn([here.url, *urls], count // 2, reads=True))
        seconds = time.monotonic() - begun
        cpu = sum(cpu_seconds(one.pid) for one in running) - before
        wrong = count // 2 - len(set(made))
    used = f"{cpu / count * 1000:.2f} ms"
    return (
        f"{number} API",
        f"{count / seconds:.0f} calls/s",
        used,
        f"{wrong} of {count // 2}",
        f"{os.getloadavg()[0]:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--calls", type=int, default=2000)
    asked = parser.parse_args()
    table("Machine", described())
    rows = []
    for number in (1, 2):
        rows.append(apis(number, asked.calls))
        print(rows[-1], flush=True)
    for number in (1, 2, 4):
        rows.append(workers(number, asked.jobs))
        print(rows[-1], flush=True)
    table("More processes", [("processes", "rate", "CPU for each", "lost or made twice", "load"), *rows])


if __name__ == "__main__":
    main()
