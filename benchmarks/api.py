"""GET and POST of a job through the API, beside a bare aiohttp handler with the Redis commands of 0.1.

    python -m benchmarks.api [--seconds 1] [--pairs 15]

Two servers, one process each, on one Valkey that writes every change to disk before it answers. They are loaded in
turns, the order changing, from a third process; the ratio is the median over the pairs. "CPU" is the server's own time
an answer, which other work on the machine disturbs less than it does the rate. "Commands" are what Redis counted an
answer. No worker runs, so nothing else is at work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import aiohttp

from benchmarks.goals import figure
from benchmarks.load import Load, load, request
from benchmarks.process import cpu_seconds
from benchmarks.table import table
from benchmarks.town import HEADERS, KEY, town
from cli.valkey_process import connect
from tests.fakes.deployment import Program
from tests.fakes.valkey import Valkey

CONNECTIONS = 16


@dataclass
class Measured:
    rate: float
    cpu_us: float
    p50: float
    p99: float
    commands: float


@dataclass(frozen=True)
class Server:
    name: str
    program: Program
    valkey: Valkey

    @property
    def port(self) -> int:
        return int(urlsplit(self.program.wait_for(r"listening on (http://\S+:\d+)")[1]).port or 0)

    async def measure(self, sent: bytes, seconds: float) -> Measured:
        cpu, commands = cpu_seconds(self.program.pid), self._commands()
        found: Load = await load(self.port, sent, seconds=seconds, connections=CONNECTIONS)
        cpu, commands = cpu_seconds(self.program.pid) - cpu, self._commands() - commands
        assert not found.failures, f"{found.failures} answers of the {self.name} server were not 200"
        answers = len(found.ms)
        return Measured(found.rate, cpu / answers * 1e6, found.p50, found.p99, commands / answers)

    def _commands(self) -> int:
        with connect(self.valkey.url) as client:
            return int(client.info("stats")["total_commands_processed"])


@contextmanager
def beside(api: Server, file: dict[str, str], directory: Path) -> Iterator[Server]:
    program = Program(["benchmarks.bare", file["id"]], {"REDIS_URL": api.valkey.url}, directory / "bare.log")
    program.start()
    try:
        yield Server("bare", program, api.valkey)
    finally:
        program.stop()


async def prepare(api: Server) -> tuple[dict[str, str], bytes, str]:
    """A file, the body of a job that trains on it, and one such job's id."""
    root = f"http://127.0.0.1:{api.port}/v1"
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        form = aiohttp.FormData({"purpose": "fine-tune"})
        lines = (Path(__file__).parents[1] / "examples" / "audubon_birds.jsonl").read_bytes()
        form.add_field("file", lines, filename="audubon_birds.jsonl")
        async with session.post(f"{root}/files", data=form) as answer:
            file = await answer.json()
            assert answer.status == 200, file
        body = {
            "model": "gpt-4.1-mini-2025-04-14",
            "training_file": file["id"],
            "seed": 42,
            "metadata": {"a": "b"},
            "callback_url": "http://127.0.0.1:9/hook",
        }
        async with session.post(f"{root}/fine_tuning/jobs", json=body) as answer:
            job = await answer.json()
            assert answer.status == 200, job
    return file, json.dumps(body).encode(), job["id"]


async def compare(api: Server, bare: Server, sent: bytes, *, seconds: float, pairs: int) -> list[list[Measured]]:
    """Pairs of (API, bare), measured one after the other."""
    for server in (api, bare):
        await server.measure(sent, min(seconds, 1.0))
    found = []
    for number in range(pairs):
        order = [api, bare] if number % 2 else [bare, api]
        measured = {server.name: await server.measure(sent, seconds) for server in order}
        found.append([measured[api.name], measured[bare.name]])
    return found


def report(method: str, pairs: list[list[Measured]]) -> None:
    rows: list[list[str]] = [["", "answers/s", "CPU µs", "p50 ms", "p99 ms", "commands"]]
    for name, column in (("API", 0), ("bare", 1)):
        of = [pair[column] for pair in pairs]
        middle = [median(getattr(one, member) for one in of) for member in ("rate", "cpu_us", "p50", "p99", "commands")]
        rows.append([name, f"{middle[0]:,.0f}", f"{middle[1]:.0f}", *(f"{value:.1f}" for value in middle[2:])])
    ratios = sorted(ours.rate / theirs.rate for ours, theirs in pairs)
    by_cpu = median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs)
    table(f"{method} /v1/fine_tuning/jobs", rows)
    print(f"ratio by answers {median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
    ours, theirs = (median(pair[column].cpu_us for pair in pairs) for column in (0, 1))
    figure(method.lower(), by_cpu, f"{ours:.0f} beside {theirs:.0f} µs")


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--pairs", type=int, default=15)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name,
        town(Path(name), "http://127.0.0.1:9", workers=0) as here,
    ):
        api = Server("API", here.service, here.valkey)
        file, body, job_id = await prepare(api)
        with beside(api, file, Path(name)) as bare:
            for method, path, content in (("GET", f"/{job_id}", b""), ("POST", "", body)):
                sent = request(method, f"/v1/fine_tuning/jobs{path}", key=KEY, body=content)
                report(method, await compare(api, bare, sent, seconds=asked.seconds, pairs=asked.pairs))


if __name__ == "__main__":
    asyncio.run(main())
