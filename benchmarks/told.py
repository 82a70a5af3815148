"""From the end of a job at the upstream to the webhook at its receiver.

    python -m benchmarks.told [--jobs 30] [--poll 2]

Everything runs as deployed: API, clock, two workers, a Valkey that writes to disk before it answers; the simulator is
the upstream. Jobs end there one by one at moments of no pattern (they are cancelled there, which is an end whose moment
is known), and the receiver notes when it hears. First by polling; then with a poll interval of 30 s and the upstream
calling us. Wanted: within the poll interval + 1 s, within 1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import aiohttp

from benchmarks.goals import figure
from benchmarks.look import Simulated
from benchmarks.table import table
from benchmarks.town import HEADERS, town
from tests.fakes.deployment import simulator_process
from tests.fakes.ports import free_port
from tests.fakes.receiver import Receiver, running_receiver

SECRET = "whsec_" + base64.b64encode(b"u" * 32).decode()
TRACKED_SECONDS = 120.0


class Client:
    """A client of the API. Its jobs run until they are ended; with `ends`, they end by themselves."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, ends: bool = False) -> None:
        self._url = url
        self._session = session
        self._metadata = {} if ends else {"simulate": "stall"}

    async def file(self) -> str:
        form = aiohttp.FormData({"purpose": "fine-tune"})
        lines = (Path(__file__).parents[1] / "examples" / "sarcastic.jsonl").read_bytes()
        form.add_field("file", lines, filename="train.jsonl")
        async with self._session.post(f"{self._url}/files", data=form) as answer:
            return str((await answer.json())["id"])

    async def submit(self, file_id: str, callback_url: str | None) -> str:
        body = {
            "model": "gpt-4.1-mini-2025-04-14",
            "training_file": file_id,
            "metadata": self._metadata,
            **({"callback_url": callback_url} if callback_url else {}),
        }
        jobs = f"{self._url}/fine_tuning/jobs"
        async with self._session.post(jobs, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["id"])

    async def upstream_id(self, job_id: str) -> str | None:
        async with self._session.get(f"{self._url}/fine_tuning/jobs/{job_id}") as answer:
            found = (await answer.json())["tunehook"]["upstream_job_id"]
            return str(found) if found else None


async def tracked(client: Client, job_ids: list[str]) -> dict[str, str]:
    """Our ids and the upstream's, once all jobs are there."""
    found: dict[str, str] = {}
    async with asyncio.timeout(TRACKED_SECONDS):
        for job_id in job_ids:
            while job_id not in found:
                await asyncio.sleep(0.1)
                if upstream_id := await client.upstream_id(job_id):
                    found[job_id] = upstream_id
    return found


async def end_at_random(simulated: Simulated, there: dict[str, str], seconds: float) -> dict[str, float]:
    """Ends the jobs one by one within so many seconds; returns when each had ended."""
    ended: dict[str, float] = {}
    for job_id, upstream_id in there.items():
        await asyncio.sleep(random.uniform(0, 2 * seconds / len(there)))  # noqa: S311
        await simulated.end([upstream_id])
        ended[job_id] = time.time()
    return ended


async def delays(url: str, root: str, jobs: int, seconds: float) -> list[float]:
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        aiohttp.ClientSession(headers={"Authorization": "Bearer sk-owner"}) as owner,
        running_receiver() as receiver,
    ):
        client = Client(url, session)
        file_id = await client.file()
        there = await tracked(client, [await client.submit(file_id, receiver.url) for _ in range(jobs)])
        ended = await end_at_random(Simulated(root, owner), there, seconds)
        return await _heard(receiver, ended)


async def _heard(receiver: Receiver, ended: dict[str, float]) -> list[float]:
    hooks = await receiver.wait(len(ended), seconds=120)
    heard = {hook.event["data"]["id"]: hook.at for hook in hooks}
    return sorted(heard[job_id] - at for job_id, at in ended.items())


def row(name: str, found: list[float]) -> tuple[str, ...]:
    figures = (median(found), quantiles(found, n=10)[8], found[-1])
    return (name, *(f"{figure:.2f}" for figure in figures))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.told", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--poll", type=int, default=2)
    asked = parser.parse_args()
    rows: list[tuple[str, ...]] = [("", "median s", "9 of 10 s", "longest s")]
    port = free_port()
    calling = ("--webhook-url", f"http://127.0.0.1:{port}/v1/upstreams/openai/events", "--webhook-secret", SECRET)
    called = {"TUNEHOOK_PORT": str(port), "OPENAI_WEBHOOK_SECRET": SECRET}
    for name, title, options, poll, environment in (
        ("polled", f"looking every {asked.poll} s", (), asked.poll, {}),
        ("called", "the upstream calls us, looking every 30 s", calling, 30, called),
    ):
        with (
            tempfile.TemporaryDirectory(prefix="tunehook-bench-") as directory,
            simulator_process(Path(directory), "openai", "--slots", "0", *options, forked=False) as root,
            town(Path(directory), root, workers=2, TUNEHOOK_POLL_SECONDS=str(poll), **environment) as here,
        ):
            found = asyncio.run(delays(here.url, root, asked.jobs, asked.jobs * 0.7))
        rows.append(row(title, found))
        figure(name, median(found), f"9 of 10 within {rows[-1][2]} s")
    table(f"From the end at the upstream to the webhook, {asked.jobs} jobs", rows)


if __name__ == "__main__":
    main()
