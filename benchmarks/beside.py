"""The p99 of 80 mixed calls a second while 512 MB are uploaded.

    python -m benchmarks.beside [--rate 80] [--megabytes 512]

The calls start at their times, whether the earlier ones have been answered or not, so a stall shows in all that come
during it. Half read one job, a quarter list jobs, a quarter submit one. No worker runs.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import aiohttp

from benchmarks.goals import figure
from benchmarks.table import table
from benchmarks.told import Client
from benchmarks.town import HEADERS, town
from benchmarks.upload import MIB, send_form, write_dataset

AFTER_SECONDS = 2.0
#: What a call counts that was refused.
FAILED_MS = 60_000.0


async def call(session: aiohttp.ClientSession, url: str, number: int, file_id: str, job_id: str) -> float:
    jobs, begun = f"{url}/fine_tuning/jobs", time.perf_counter()
    body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": file_id}
    match number % 4:
        case 0:
            request = session.post(jobs, json=body)
        case 1:
            request = session.get(jobs)
        case _:
            request = session.get(f"{jobs}/{job_id}")
    async with request as answer:
        await answer.read()
        if answer.status != 200:
            return FAILED_MS
    return (time.perf_counter() - begun) * 1000


async def measure(url: str, path: Path | None, rate: int) -> list[float]:
    """Returns the ms of each call, while the file is sent and for two seconds more, or for ten without one."""
    async with aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=0)) as session:
        client = Client(url, session)
        file_id = await client.file()
        job_id = await client.submit(file_id, None)
        sending = asyncio.create_task(asyncio.to_thread(send_form, f"{url}/files", path) if path else asyncio.sleep(10))
        calls, begun = [], time.perf_counter()
        until = float("inf")
        for number in itertools.count():
            if sending.done() and until == float("inf"):
                until = time.perf_counter() + (AFTER_SECONDS if path else 0)
            if time.perf_counter() > until:
                break
            calls.append(asyncio.create_task(call(session, url, number, file_id, job_id)))
            await asyncio.sleep(max(0.0, begun + (number + 1) / rate - time.perf_counter()))
        await sending
        return await asyncio.gather(*calls)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=80)
    parser.add_argument("--megabytes", type=int, default=512)
    asked = parser.parse_args()
    rows: list[tuple[str, ...]] = [("", "calls", "p50 ms", "p99 ms", "longest ms")]
    p99: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        town(Path(name), "http://127.0.0.1:9", workers=0) as here,
    ):
        path = Path(name) / "train.jsonl"
        write_dataset(path, asked.megabytes * MIB)
        for title, sent in (("alone", None), ("beside the upload", path)):
            found = asyncio.run(measure(here.url, sent, asked.rate))
            p99[title] = quantiles(found, n=100)[98]
            figures = (median(found), p99[title], max(found))
            rows.append((title, str(len(found)), *(f"{ms:.0f}" for ms in figures)))
    table(f"{asked.rate} calls a second, and {asked.megabytes} MB", rows)
    figure("beside", p99["beside the upload"], f"{p99['alone']:.0f} ms alone")


if __name__ == "__main__":
    main()
