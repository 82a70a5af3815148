"""What grows with the number of jobs in one Redis: calls, polls, the doctor, retention.

    python -m benchmarks.scale [--finished 1000 10000 100000] [--live 10000] [--events 8]

The API runs as deployed, on a Valkey that writes to disk before it answers; the simulator is the upstream, with all
live jobs. Finished jobs are written to the store as they are when all is over, up to each number in turn. Then all is
measured: milliseconds of the clock (median), and CPU of the API or of a program of its own, and of Redis. CPU is what
can be compared on a machine with other work. Eight log entries a job, where a real one has fifty (37 kB a job of the
story, docs/retention.md), so that 100,000 fit into a small machine: nothing measured here reads
the log of more than one job.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.look import Simulated, settle_in
from benchmarks.machine import described
from benchmarks.process import cpu_seconds, peak_bytes, resident_bytes
from benchmarks.scale_fill import MODELS, fill
from benchmarks.table import table
from benchmarks.town import HEADERS, Town, town
from cli import main as cli_main
from cli.valkey_process import connect
from tests.fakes.deployment import SECRET_KEY, simulator_process
from tunehook.context import Context, RetentionPeriods, open_context
from tunehook.jobs import poller
from tunehook.maintenance import retention
from tunehook.settings import Settings

#: How often each call is made.
TIMES = 20
MIB = 1024 * 1024
#: name of the measurement → what was found
Found = dict[str, str]


def settings(redis_url: str, directory: Path, root: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "TUNEHOOK_DATA_DIR": str(directory / "data"),
        "TUNEHOOK_SECRET_KEY": SECRET_KEY,
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": f"{root}/v1",
    }


# ---- calls to the API


async def calls(here: Town, found: Found) -> None:
    jobs = "/v1/fine_tuning/jobs"
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        root = here.url.removesuffix("/v1")

        async def _got(path: str) -> Any:
            async with session.get(f"{root}{path}") as answer:
                assert answer.ok, await answer.text()
                return await answer.json()

        form = aiohttp.FormData({"purpose": "fine-tune"})
        lines = (Path(__file__).parents[1] / "examples" / "sarcastic.jsonl").read_bytes()
        form.add_field("file", lines, filename="train.jsonl")
        async with session.post(f"{root}/v1/files", data=form) as answer:
            file_id = (await answer.json())["id"]
        some = (await _got(f"{jobs}?limit=100&stage=settled"))["data"][-1]
        paths = {
            "list, 20": f"{jobs}?limit=20",
            "list, 20 of the middle": f"{jobs}?limit=20&after={some['id']}",
            "filter stage": f"{jobs}?stage=tracked&limit=20",
            "filter status and model": f"{jobs}?status=succeeded&model={MODELS[0]}&limit=20",
            "filter metadata": f"{jobs}?metadata[run]={some['metadata']['run']}",
            "filter team, 2 %": f"{jobs}?metadata[team]={some['metadata']['team']}&limit=20",
            "filter q, one job": f"{jobs}?q={some['metadata']['run']}",
            "filter q, none": f"{jobs}?q=nosuchtext",
            "GET job": f"{jobs}/{some['id']}",
            "GET events": f"{jobs}/{some['id']}/events",
            "GET models": "/v1/models",
            "GET files, 20": "/v1/files?limit=20",
            "GET summary": "/v1/summary",
            "GET /metrics": "/metrics",
        }
        for name, path in paths.items():
            found[name] = await _timed(here, session, "GET", f"{root}{path}")
        body = {"model": MODELS[0], "training_file": file_id}
        found["POST job"] = await _timed(here, session, "POST", f"{root}{jobs}", body)


async def _timed(here: Town, session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> str:
    """Returns `ms, CPU ms of the API + of Redis`."""
    took = []
    before = cpu_seconds(here.service.pid), cpu_seconds(here.valkey.pid)
    for _ in range(TIMES):
        begun = time.perf_counter()
        async with session.request(method, url, json=body) as answer:
            await answer.read()
            assert answer.ok, await answer.text()
        took.append(time.perf_counter() - begun)
    api, redis = cpu_seconds(here.service.pid) - before[0], cpu_seconds(here.valkey.pid) - before[1]
    return f"{median(took) * 1000:.0f} ({api / TIMES * 1000:.1f} + {redis / TIMES * 1000:.1f})"


# ---- programs of their own


def program(here: Town, environment: dict[str, str], name: str) -> str:
    """Returns `seconds, CPU s + of Redis, MB at most` of one step in a program of its own."""
    before, begun = cpu_seconds(here.valkey.pid), time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.scale", "--step", name]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False)
    seconds, redis = time.perf_counter() - begun, cpu_seconds(here.valkey.pid) - before
    cpu, peak = done.stdout.splitlines()[-1].split()
    ended = "" if done.returncode == 0 else f", status {done.returncode}"
    return f"{seconds:.1f} s ({float(cpu):.1f} + {redis:.1f}), {int(peak) // MIB} MB{ended}"


async def step(name: str) -> None:
    """Does one thing, as a step of a worker does it. `nothing` is what the others are compared with."""
    async with open_context(Settings()) as ctx:
        if name == "poll":
            await poller.poll(ctx, "openai")
        elif name == "sweep":
            await retention.sweep(ctx)
        elif name == "remove":
            await retention.sweep(replace(ctx, keep=RetentionPeriods(jobs=0.0, datasets=0.0, copies=0.0)))


def run_step(name: str) -> int:
    """Runs a step or the doctor; prints the CPU seconds of this process and the most memory it had, in bytes."""
    status = cli_main.main(["doctor"]) if name == "doctor" else asyncio.run(step(name))
    print(time.process_time(), peak_bytes(os.getpid()))
    return status or 0


def programs(here: Town, environment: dict[str, str], found: Found) -> None:
    for name, words in {
        "nothing": "an empty step",
        "poll": "poll",
        "sweep": "retention, nothing is old",
        "remove": "retention, 200 of each go",
        "doctor": "doctor",
    }.items():
        found[words] = program(here, environment, name)


# ---- all of it


async def make(ctx: Context, here: Town, count: int, events: int) -> None:
    """Writes finished jobs, without Redis' disk: that is not what is measured."""
    with connect(here.valkey.url) as client:
        client.config_set("appendonly", "no")
        await fill(ctx, count, events=events)
        client.config_set("appendonly", "yes")
        async with asyncio.timeout(600):
            while client.info("persistence")["aof_rewrite_in_progress"]:  # noqa: ASYNC110
                await asyncio.sleep(0.5)


async def run(here: Town, directory: Path, root: str, asked: argparse.Namespace) -> dict[int, Found]:
    environment = settings(here.valkey.url, directory, root)
    known = {"redis_url": here.valkey.url, "data_dir": directory / "data", "secret_key": SECRET_KEY}
    upstream = {"openai_api_key": "sk-simulated", "openai_base_url": f"{root}/v1"}
    rows: dict[int, Found] = {}
    async with (
        open_context(Settings.model_validate(known | upstream)) as ctx,
        aiohttp.ClientSession(headers={"Authorization": "Bearer sk-simulated"}) as owner,
    ):
        await settle_in(ctx, Simulated(root, owner), asked.live)
        there = 0
        for count in asked.finished:
            began, before = time.monotonic(), _memory(here)
            await make(ctx, here, count - there, asked.events)
            added, there = count - there, count
            found = rows[count] = {"load": f"{os.getloadavg()[0]:.1f}"}
            after = _memory(here)
            print(f"{count} finished jobs, {time.monotonic() - began:.0f} s, {after // MIB} MB", flush=True)
            await calls(here, found)
            programs(here, environment, found)
            found["Redis, MB"] = str(after // MIB)
            found["bytes a finished job"] = str((after - before) // added)
            found["API, MB"] = str(resident_bytes(here.service.pid) // MIB)
            print(json.dumps(found), flush=True)
    return rows


def _memory(here: Town) -> int:
    with connect(here.valkey.url) as client:
        return int(client.info("memory")["used_memory"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--finished", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--live", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=8)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        sys.exit(run_step(asked.step))
    table("Machine", described())
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        simulator_process(Path(name), "openai", "--slots", "0", forked=False) as root,
        town(Path(name), root, workers=0, TUNEHOOK_KEEP_DELIVERIES_DAYS="90") as here,
    ):
        rows = asyncio.run(run(here, Path(name), root, asked))
    names = next(iter(rows.values()))
    table(
        f"Beside {asked.live:,} live jobs: ms (CPU ms of the API + of Redis); s (CPU s + of Redis), most memory",
        [
            ("finished jobs", *(f"{count:,}" for count in rows)),
            *((n, *(row[n] for row in rows.values())) for n in names),
        ],
    )


if __name__ == "__main__":
    main()
