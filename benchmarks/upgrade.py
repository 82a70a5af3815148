"""An upgrade while clients call: 10,000 finished and 200 live jobs of a version whose jobs had no index.

    python -m benchmarks.upgrade [--finished 10000] [--live 200] [--commit bbc54b5^]

The older programs run from a checkout of their own. They take two jobs to their ends, which are multiplied
(upgrade_fill.py), and make the live ones. Then clients begin: one reads jobs and lists, one filters, one submits. The
new API starts beside the old one, clients go over to it, the old one stops; so the workers. Told are the calls that
failed, the time of the others, when the indexes were complete, and whether all live jobs ended once, with one webhook.
`--commit`: the last one before the index of jobs. It needs the history (no shallow clone).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks.machine import described
from benchmarks.scale_out import at_upstream
from benchmarks.table import table
from benchmarks.town import HEADERS, KEY
from benchmarks.upgrade_calls import Calls
from benchmarks.upgrade_fill import multiply, templates
from cli.valkey_process import connect
from tests.fakes.deployment import ROOT, SECRET_KEY, Program, simulator_process
from tests.fakes.old_program import checkout
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.valkey import Valkey, valkey_server
from tunehook.store import job_index
from tunehook.store.engine import keys
from tunehook.store.store import Store

PROJECT = "default"
#: Clients call for so long before the upgrade, and after it.
CALM_SECONDS = 15.0
PATIENCE = 900.0
DOCTOR = "from cli.main import main; raise SystemExit(main(['doctor']))"


@dataclass
class Upgrade:
    directory: Path
    old: Path  #: the older version's checkout
    valkey: Valkey
    simulator: str  #: its root
    receiver: Receiver
    calls: Calls
    found: list[tuple[str, object]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.valkey.url,
            "TUNEHOOK_DATA_DIR": str(self.directory / "data"),
            "TUNEHOOK_PORT": "0",
            "TUNEHOOK_SECRET_KEY": SECRET_KEY,
            "TUNEHOOK_BOOTSTRAP_KEY": KEY,
            "TUNEHOOK_WEBHOOK_ALLOW": "127.0.0.1",
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"{self.simulator}/v1",
        }

    async def run(self, finished: int, live: int) -> None:
        with ExitStack() as stack:

            def _program(which: str, kind: str) -> Program:
                source = self.old if which == "old" else ROOT
                program = Program([kind], self.settings, self.directory / f"{which}-{kind}.log", root=source)
                stack.callback(program.stop)
                return program

            old_api, old_worker, api, worker = (
                _program(which, kind) for which in ("old", "new") for kind in ("service", "worker")
            )
            old_api.start()
            old_worker.start()
            self.calls.url = await _listening(old_api)
            await self._fill(finished, live)
            async with self.calls.going_on():
                await asyncio.sleep(CALM_SECONDS)
                self.calls.phase, begun = "upgrade", time.monotonic()
                api.start()
                self.calls.url, self.calls.filters = await _listening(api), True
                await asyncio.to_thread(old_api.stop)
                worker.start()
                await asyncio.to_thread(worker.wait_for, "processes: the ")
                self._tell("both new programs run, s", time.monotonic() - begun)
                await asyncio.to_thread(old_worker.stop)
                await _until(self._indexed)
                self._tell("indexes complete, s", time.monotonic() - begun)
                self.calls.phase = "after"
                await asyncio.sleep(CALM_SECONDS)
            self._tell_calls()
            await self._end()
            for program in (api, worker):
                assert "Traceback" not in program.said(), program.said()[-4000:]

    async def _fill(self, finished: int, live: int) -> None:
        """Makes all that is there before the upgrade, by the older programs."""
        for _ in range(2):
            await self.calls.submit()
        first, second = self.calls.made
        await _until(lambda: self._tracked(2))
        await self._advance()
        await self.receiver.wait(2, seconds=PATIENCE)
        await asyncio.sleep(5)  # its model is ready, and nothing more happens to it
        with connect(self.valkey.url) as client:
            made_of = templates(client, PROJECT, (first, second))
            await asyncio.to_thread(multiply, client, made_of, finished - 2)
        self.calls.file_id = await self.calls.upload()
        for _ in range(live):
            await self.calls.submit()
        await _until(lambda: self._tracked(live))

    async def _end(self) -> None:
        """Lets all jobs end, and tells what became of them."""
        self._tell("jobs that an old program changed since", await self._unindexed())
        begun = time.monotonic()
        await _until(self._rows_are_right)
        self._tell("rows right after, s", time.monotonic() - begun)
        live = len(self.calls.made) - 2
        await _until(lambda: self._tracked(live))
        self._tell("finished jobs by the filter", await self.calls.count("status=succeeded"))
        await self._advance()
        hooks = await self.receiver.wait(live + 2, seconds=PATIENCE)
        told = Counter(hook.event["data"]["id"] for hook in hooks)
        self._tell("ends", dict(Counter(hook.event["type"] for hook in hooks)))
        made = await at_upstream(self.simulator)
        wrong = [job_id for job_id in self.calls.made if (told[job_id], made[job_id]) != (1, 1)]
        self._tell("live jobs", live)
        self._tell("lost, made twice or told twice", len(wrong))
        self._tell("finished jobs by the filter, at the end", await self.calls.count("status=succeeded"))
        environment = {**os.environ, **self.settings}
        doctor = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", DOCTOR], env=environment, capture_output=True, text=True, check=False
        )
        self._tell("doctor", f"{doctor.stdout}{doctor.stderr}".strip())

    def _tell_calls(self) -> None:
        rows = [
            (phase, what, len(ms), *(f"{one:.0f}" for one in (median(ms), sorted(ms)[int(len(ms) * 0.99)], max(ms))))
            for (phase, what), ms in self.calls.ms.items()
        ]
        table("Calls, ms", [("phase", "call", "calls", "median", "p99", "longest"), *rows])

    def _tell(self, name: str, value: object) -> None:
        self.found.append((name, f"{value:.1f}" if isinstance(value, float) else value))
        print(f"{time.monotonic() - self.begun:.0f} s:", *self.found[-1], flush=True)

    async def _advance(self) -> None:
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"{self.simulator}/simulator/clock", json={"advance": 36000})
            answer.raise_for_status()

    async def _tracked(self, count: int) -> bool:
        with connect(self.valkey.url) as client:
            return int(client.hlen(keys.live("openai"))) >= count

    async def _indexed(self) -> bool:
        with connect(self.valkey.url) as client:
            return bool(client.sismember(keys.INDEXED, PROJECT))

    async def _rows_are_right(self) -> bool:
        return await self._unindexed() == 0

    async def _unindexed(self) -> int:
        async with Store.connect(self.valkey.url) as store:
            return sum([len(ids) async for ids in job_index.unindexed(store, PROJECT)])


async def _listening(program: Program) -> str:
    return f"{(await asyncio.to_thread(program.wait_for, r'listening on (http://[^ ,]+)'))[1]}/v1"


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def run(directory: Path, asked: argparse.Namespace) -> tuple[Calls, list[tuple[str, object]]]:
    with (
        valkey_server(directory / "valkey") as valkey,
        simulator_process(directory, "openai", "--slots", "0", "--speed", "1", forked=False) as simulator,
    ):
        async with aiohttp.ClientSession(headers=HEADERS) as session, running_receiver() as receiver:
            old = checkout(directory / "old", asked.commit)
            calls = Calls("", session, receiver.url)
            upgrade = Upgrade(directory, old, valkey, simulator, receiver, calls)
            await upgrade.run(asked.finished, asked.live)
            return calls, upgrade.found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upgrade", description=__doc__.partition("\n")[0])
    parser.add_argument("--finished", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=200)
    parser.add_argument("--commit", default="bbc54b5^")
    asked = parser.parse_args()
    table("Machine", [*described(), ("load", f"{os.getloadavg()[0]:.1f}")])
    with tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name:
        calls, found = asyncio.run(run(Path(name), asked))
    table("The upgrade", [*found, ("calls that failed", len(calls.failed)), ("load", f"{os.getloadavg()[0]:.1f}")])
    print(*calls.failed[:20], sep="\n")


if __name__ == "__main__":
    main()
