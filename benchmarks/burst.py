"""Jobs of one project, while thousands of jobs of another wait to be created.

    python -m benchmarks.burst [--waiting 1000] [--jobs 10] [--poll 1]

Everything runs as deployed: API, scheduler, workers, a Valkey that writes to disk before it answers; the simulator is
the upstream. One project has jobs there. The other then submits its burst. Half of the first project's jobs end at the
upstream, and half are cancelled by their client, one by one: how long does each take to its webhook? Wanted: the poll
interval + 2 s.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import deque
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from benchmarks.goals import figure
from benchmarks.look import Simulated
from benchmarks.table import table
from benchmarks.told import Client, row, tracked
from benchmarks.town import HEADERS, Town, town
from tests.fakes.deployment import SECRET_KEY, simulator_process
from tests.fakes.receiver import running_receiver
from tunehook import api_keys
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store

SUBMITTERS = 32


async def burst(here: Town, count: int) -> None:
    """Submits the other project's jobs."""
    store = Store.connect(here.valkey.url)
    encryption = Encryption(SecretStr(SECRET_KEY))
    key, _ = await api_keys.create(store, encryption, project="other", name="burst")
    await store.close()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        client = Client(here.url, session)
        file_id = await client.file()
        left = deque(range(count))

        async def _submit() -> None:
            while left:
                left.pop()
                await client.submit(file_id, None)

        await asyncio.gather(*(_submit() for _ in range(SUBMITTERS)))


async def stages(here: Town) -> dict[str, int]:
    store = Store.connect(here.valkey.url)
    try:
        return (await store.metrics.read(["openai"])).jobs
    finally:
        await store.close()


async def delays(here: Town, root: str, waiting: int, jobs: int) -> list[tuple[str, ...]]:
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        aiohttp.ClientSession(headers={"Authorization": "Bearer sk-owner"}) as owner,
        running_receiver() as receiver,
    ):
        client, simulated = Client(here.url, session), Simulated(root, owner)
        file_id = await client.file()
        there = await tracked(client, [await client.submit(file_id, receiver.url) for _ in range(jobs)])
        began = time.monotonic()
        await burst(here, waiting)
        print(f"{waiting} jobs accepted in {time.monotonic() - began:.0f} s; stages {await stages(here)}")
        at: dict[str, float] = {}
        cancelled = set(list(there)[::2])
        for job_id, upstream_id in there.items():
            await asyncio.sleep(random.uniform(0, 2))  # noqa: S311
            if job_id in cancelled:
                async with session.post(f"{here.url}/fine_tuning/jobs/{job_id}/cancel") as answer:
                    assert answer.status == 200, await answer.text()
            else:
                await simulated.end([upstream_id])
            at[job_id] = time.time()
        hooks = await receiver.wait(jobs, seconds=1800)
        print(f"stages {await stages(here)} {time.monotonic() - began:.0f} s after the first submission")
        heard = {hook.event["data"]["id"]: hook.at - at[hook.event["data"]["id"]] for hook in hooks}
        figure("burst", max(heard.values()))
        return [
            row("ended at the upstream", sorted(took for job_id, took in heard.items() if job_id not in cancelled)),
            row("cancelled by the client", sorted(took for job_id, took in heard.items() if job_id in cancelled)),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst", description=__doc__.partition("\n")[0])
    parser.add_argument("--waiting", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--poll", type=int, default=1)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        simulator_process(Path(name), "openai", "--slots", "0", forked=False) as root,
        town(Path(name), root, workers=2, TUNEHOOK_POLL_SECONDS=str(asked.poll)) as here,
    ):
        rows = asyncio.run(delays(here, root, asked.waiting, asked.jobs))
    heading = ("", "median s", "9 of 10 s", "longest s")
    table(f"To the webhook, behind {asked.waiting} jobs of another project", [heading, *rows])


if __name__ == "__main__":
    main()
