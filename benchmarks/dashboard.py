"""The dashboard's queries, asked of a real Prometheus that watched a run.

    python -m benchmarks.dashboard [--jobs 30] [--seconds 60]

Everything runs as deployed; the simulator trains a job in a second. Jobs are submitted over the time given, each with a
callback, while `prometheus` (of the PATH; Debian has a package) scrapes the API each second. Prints each panel of
deploy/grafana/tunehook.json with the answers to its queries.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.machine import described
from benchmarks.table import table
from benchmarks.told import Client
from benchmarks.town import HEADERS, Town, town
from tests.fakes.deployment import ROOT, simulator_process
from tests.fakes.patience import eventually
from tests.fakes.ports import free_port
from tests.fakes.receiver import running_receiver

SHOWN = 4  #: series of an answer


@contextmanager
def prometheus(directory: Path, here: Town) -> Iterator[str]:
    port, config = free_port(), directory / "prometheus.yml"
    target = {"job_name": "tunehook", "static_configs": [{"targets": [f"127.0.0.1:{here.port}"]}]}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"]
    with (directory / "prometheus.log").open("wb") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def panels() -> Iterator[tuple[str, str]]:
    """Yields the title and one query of each panel, as often as it has queries."""

    def _of(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for row in rows:
            for target in row.get("targets", []):
                yield row["title"], target["expr"].replace("$job", ".*tunehook.*")
            yield from _of(row.get("panels", []))

    yield from _of(json.loads((ROOT / "deploy" / "grafana" / "tunehook.json").read_text())["panels"])


async def work(here: Town, jobs: int, seconds: float) -> None:
    """Submits jobs at even pauses; returns when all webhooks have come, the first of them refused once."""
    async with aiohttp.ClientSession(headers=HEADERS) as session, running_receiver(503) as receiver:
        client = Client(here.url, session, ends=True)
        for _ in range(jobs):
            await client.submit(await client.file(), receiver.url)
            await asyncio.sleep(seconds / jobs)

        async def _told() -> int:
            return len({hook.id for hook in receiver.hooks})

        await eventually(_told, lambda count: count == jobs, seconds=600)
        await asyncio.sleep(5)


async def answers(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for title, query in panels():
            async with session.get(f"{url}/api/v1/query", params={"query": query}) as answer:
                found = await answer.json()
            assert found["status"] == "success", found
            print(f"| {title} | {_shown(found['data']['result'])} |")


def _shown(rows: list[dict[str, Any]]) -> str:
    """Returns the largest series as text; zeros are counted."""
    values = sorted(((float(row["value"][1]), row["metric"]) for row in rows), key=lambda pair: -pair[0])
    some = [(value, labels) for value, labels in values if value and not math.isnan(value)][:SHOWN]
    words = [f"{_named(labels)}{value:.4g}" for value, labels in some]
    rest = len(values) - len(some)
    return ", ".join(words + ([f"{rest} more" if words else f"0 in {rest} series"] if rest else [])) or "no series"


def _named(labels: dict[str, str]) -> str:
    kept = [text for name, text in sorted(labels.items()) if name not in ("__name__", "instance", "job")]
    return f"{'/'.join(kept)} " if kept else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    table("Machine", described())
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        simulator_process(Path(name), "openai", "--speed", "900", "--slots", "0", forked=False) as root,
        town(Path(name), root, workers=2, TUNEHOOK_POLL_SECONDS="1") as here,
        prometheus(Path(name), here) as url,
    ):
        asyncio.run(work(here, asked.jobs, asked.seconds))
        asyncio.run(answers(url))


if __name__ == "__main__":
    main()
