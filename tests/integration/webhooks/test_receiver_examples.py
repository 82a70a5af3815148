"""The receivers in examples/ take what we send, once, and refuse what we did not sign."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.ports import free_port
from tests.integration.webhooks.conftest import Office

pytestmark = pytest.mark.processes

RECEIVERS = Path(__file__).parents[3] / "examples" / "receivers"


def _command(name: str) -> list[str]:
    if name != "node":
        return [sys.executable, str(RECEIVERS / f"{name}_receiver.py")]
    node = shutil.which("node")
    if node is None or not (RECEIVERS / "node" / "node_modules").exists():
        pytest.skip("needs node, and `npm install` in examples/receivers/node")
    return [node, str(RECEIVERS / "node" / "receiver.mjs")]


@asynccontextmanager
async def running(name: str, port: int, secret: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *_command(name),
        env={**os.environ, "PORT": str(port), "WEBHOOK_SECRET": secret, "OPENAI_WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None, "it has ended"
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("name", ["aiohttp", "fastapi", "node"])
async def test_an_example_receives(office: Office, name: str) -> None:
    _command(name)
    port = free_port()
    url = f"http://127.0.0.1:{port}/hooks"
    made = await office.subscribe(url, "fine_tuning.job.succeeded")
    async with running(name, port, made["signing_secret"]) as process:
        assert process.stdout
        job = await office.happen()
        for _ in range(2):  # the second time it is asked for by hand, and comes with the same id
            await office.deliver()
            delivery = (await office.deliveries(made["id"]))[0]
            assert delivery["state"] == "delivered", delivery
            await office.post(f"/v1/deliveries/{delivery['id']}/redeliver")
        line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
        assert line.split() == ["fine_tuning.job.succeeded", job.id, "ft:gpt-4.1-mini-2025-04-14:acme:x:1"]

        forged = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        async with aiohttp.ClientSession() as session:
            for headers in (forged, {}):
                async with session.post(url, data=b"{}", headers=headers) as answer:
                    assert answer.status == 400
        await office.client.webhooks.rotate_secret(made["id"])
        await office.deliver()  # signed by a secret that the receiver does not have
        delivery = (await office.deliveries(made["id"]))[0]
        assert (delivery["state"], delivery["last_status_code"]) == ("pending", 400)
        process.terminate()
        left, _ = await process.communicate()
        assert left == b"", "the same webhook-id was worked on twice"
