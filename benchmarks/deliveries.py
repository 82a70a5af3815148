"""Measures webhooks out: deliveries a second beside a bare aiohttp client, and what dead endpoints cost.

    python -m benchmarks.deliveries [deliveries] [dead endpoints]

The two workers are `python -m worker` as it runs anywhere (scheduler, RQ, forked steps), on a Valkey that syncs each
write. The bare loop posts the same signed bodies from two processes, 64 at a time, and records nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from benchmarks.goals import figure
from benchmarks.table import table
from tests.fakes.valkey import valkey_server
from tunehook.model.record import new_id
from tunehook.model.webhook import Endpoint
from tunehook.security import signature
from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.settings import environment
from tunehook.store.engine.commit import Change
from tunehook.store.store import Store
from tunehook.webhooks import Webhooks, event_types, publishing, sample_events

SECRET_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
ENDPOINTS = 200
PROJECT = "benchmark"
ROOT = Path(__file__).parents[1]


@contextmanager
def _receiver() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.receiving"], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def _workers(redis_url: str, directory: Path) -> Iterator[None]:
    env = environment(
        REDIS_URL=redis_url,
        TUNEHOOK_SECRET_KEY=SECRET_KEY,
        TUNEHOOK_WEBHOOK_ALLOW="127.0.0.1",
        TUNEHOOK_DATA_DIR=str(directory),
        TUNEHOOK_WORKERS="2",
    )
    with (directory / "worker.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "worker"], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _webhooks(redis_url: str) -> Webhooks:
    store = Store.connect(redis_url)
    return Webhooks(store, Encryption(SecretStr(SECRET_KEY)), AllowList.parse("127.0.0.1"))


async def _subscribe(webhooks: Webhooks, url: str, kind: str) -> Endpoint:
    now = int(time.time())
    endpoint = Endpoint(
        id=new_id("we_"),
        project=PROJECT,
        name="benchmark",
        url=url,
        event_types=[kind],
        created_at=now,
        updated_at=now,
        secret=webhooks.encryption.encrypt(signature.new_secret()),
        secret_hint="",
    )
    await webhooks.store.endpoints.add(endpoint, key_id="benchmark", digest=endpoint.id)
    return endpoint


async def _happen(webhooks: Webhooks, kind: str) -> tuple[str, float]:
    """Publishes an event to its subscribers; returns its id and the time of the commit."""
    data = json.loads(sample_events.sample_event(kind, PROJECT, now=int(time.time())).body)["data"]
    change = Change(record=f"th:benchmark:{new_id('')}", revision=0, document="{}")
    await publishing.publish_to_project(webhooks, change, PROJECT, kind, data, now=int(time.time()))
    await webhooks.store.commit(change)
    event_id = next(command[1] for command in change.commands if command[0] == "SET").removeprefix("th:event:")
    return event_id, time.time()


async def _all_arrived(root: str, count: int) -> dict[tuple[str, str], float]:
    """Returns (webhook-id, path) → first arrival. Duplicates (their commit was lost) are printed and count once."""
    found: dict[tuple[str, str], float] = {}
    twice = 0
    until = time.monotonic() + 120
    async with aiohttp.ClientSession() as session:
        while len(found) < count and time.monotonic() < until:
            await asyncio.sleep(0.5)
            async with session.get(f"{root}/arrivals") as answer:
                for at, event_id, path in json.loads(await answer.read()):
                    twice += (event_id, path) in found
                    found.setdefault((event_id, path), at)
    assert len(found) == count, f"{len(found)} of {count} arrived"
    if twice:
        print(f"{twice} of {count} came twice")
    return found


def _rate(arrived: dict[tuple[str, str], float]) -> float:
    times = sorted(arrived.values())
    return (len(times) - 1) / (times[-1] - times[0])


# ---- the bare loop


async def _bare(url: str, count: int) -> None:
    body = sample_events.sample_event(event_types.SUCCEEDED, PROJECT, now=int(time.time())).body.encode()
    secret = signature.new_secret()
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def _post() -> None:
            for _ in left:
                headers = signature.sign([secret], new_id("evt_"), int(time.time()), body)
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()

        await asyncio.gather(*(_post() for _ in range(64)))


async def _bare_rate(root: str, count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.deliveries", "--bare", f"{root}/hook", str(count // 2)]
    processes = [await asyncio.create_subprocess_exec(*command, cwd=ROOT) for _ in range(2)]
    arrived = await _all_arrived(root, count // 2 * 2)
    for process in processes:
        await process.wait()
    return _rate(arrived)


async def _our_rate(webhooks: Webhooks, redis_url: str, root: str, count: int, directory: Path) -> float:
    for number in range(ENDPOINTS):
        await _subscribe(webhooks, f"{root}/hook/{number}", event_types.CREATED)
    for _ in range(count // ENDPOINTS):
        await _happen(webhooks, event_types.CREATED)
    with _workers(redis_url, directory):
        return _rate(await _all_arrived(root, count // ENDPOINTS * ENDPOINTS))


# ---- dead endpoints


async def _latencies(webhooks: Webhooks, root: str, kind: str, seconds: float) -> list[float]:
    """Publishes an event to ten live endpoints every quarter of a second; returns the seconds until each arrived."""
    began: dict[str, float] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        event_id, at = await _happen(webhooks, kind)
        began[event_id] = at
        await asyncio.sleep(0.25)
    arrived = await _all_arrived(root, 10 * len(began))
    return [max(0.0, at - began[event_id]) for (event_id, _), at in arrived.items()]


async def _dead(webhooks: Webhooks, redis_url: str, root: str, dead: int, directory: Path) -> list[tuple[str, ...]]:
    for number in range(10):
        await _subscribe(webhooks, f"{root}/live/{number}", event_types.RUNNING)
    rows: list[tuple[str, ...]] = [("events to live endpoints", "p50", "p99", "longest")]
    with _workers(redis_url, directory):
        await _happen(webhooks, event_types.RUNNING)
        await _all_arrived(root, 10)  # the workers have started
        alone = await _latencies(webhooks, root, event_types.RUNNING, 10)
        rows.append(("without dead ones", *_figures(alone)))
        for number in range(dead):
            await _subscribe(webhooks, f"{root}/hang/{number}", event_types.WAITING)
        for _ in range(5):  # five deliveries wait for each dead one
            await _happen(webhooks, event_types.WAITING)
        met = await _latencies(webhooks, root, event_types.RUNNING, 20)
        rows.append((f"while {dead} that hang are met for the first time", *_figures(met)))
        beside = await _latencies(webhooks, root, event_types.RUNNING, 30)
        rows.append((f"beside {dead} that are known to hang", *_figures(beside)))
        figure("dead", max(beside) * 1000, f"without them {max(alone) * 1000:.0f} ms")
    return rows


def _figures(seconds: list[float]) -> tuple[str, str, str]:
    p99 = statistics.quantiles(seconds, n=100)[98]
    return tuple(f"{value * 1000:.0f} ms" for value in (statistics.median(seconds), p99, max(seconds)))  # type: ignore[return-value]


async def main(count: int, dead: int) -> None:
    with tempfile.TemporaryDirectory() as temporary, _receiver() as root:
        directory = Path(temporary)
        with valkey_server(directory / "valkey") as valkey:
            webhooks = _webhooks(valkey.url)
            if count:
                bare = await _bare_rate(root, count)
                ours = await _our_rate(webhooks, valkey.url, root, count, directory)
                table(
                    f"{count} deliveries to {ENDPOINTS} endpoints",
                    [
                        ("", "a second", "ratio"),
                        ("bare aiohttp client, two processes", f"{bare:.0f}", "1.00"),
                        ("two workers", f"{ours:.0f}", f"{ours / bare:.2f}"),
                    ],
                )
                figure("deliveries", ours / bare, f"{ours:.0f} beside {bare:.0f} a second")
            valkey.flush()
            if dead:
                table("Dead endpoints", await _dead(webhooks, valkey.url, root, dead, directory))
            await webhooks.store.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        asyncio.run(_bare(sys.argv[2], int(sys.argv[3])))
    else:
        numbers = [int(text) for text in sys.argv[1:]]
        asyncio.run(main(*(numbers + [20_000, 1000][len(numbers) :])))
