"""`python -m worker --healthcheck` asks whether the clock of this very container ticks, not any other's."""

import asyncio
import socket
import subprocess
import sys
from contextlib import suppress

from redis import Redis

from tests.fakes.deployment import ROOT, SECRET_KEY
from tests.fakes.valkey import Valkey
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.engine.keys import clock_on
from tunehook.store.store import Store
from worker.scheduler import Scheduler

HERE = socket.gethostname()


def healthcheck(url: str) -> subprocess.CompletedProcess[str]:
    environment = {"REDIS_URL": url, "TUNEHOOK_SECRET_KEY": SECRET_KEY}
    command = [sys.executable, "-m", "worker", "--healthcheck"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


async def test_a_clock_that_runs_ticks_in_the_name_of_its_host(valkey: Valkey) -> None:
    store = Store.connect(valkey.url)
    connection = await asyncio.to_thread(open_blocking, valkey.url)
    clock = asyncio.create_task(Scheduler(store, connection, []).run())
    try:
        async with asyncio.timeout(180):
            while not await store.ticks(HERE):  # noqa: ASYNC110  (what is waited for is in Redis)
                await asyncio.sleep(0.02)
        assert not await store.ticks("some other host")
    finally:
        clock.cancel()
        with suppress(asyncio.CancelledError):
            await clock
        connection.close()
        await store.close()


def test_healthy_while_it_ticks(valkey: Valkey) -> None:
    with Redis.from_url(valkey.url) as client:
        client.set(clock_on(HERE), "ticks", px=60_000)
    answer = healthcheck(valkey.url)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_unhealthy_when_only_another_ticks(valkey: Valkey) -> None:
    with Redis.from_url(valkey.url) as client:
        client.set(clock_on("some other host"), "ticks", px=60_000)
    answer = healthcheck(valkey.url)
    assert answer.returncode == 1
    assert answer.stderr == "the scheduler of this worker has not run for 10 s\n"


def test_unhealthy_without_redis() -> None:
    answer = healthcheck("redis://127.0.0.1:9/0")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
