"""A worker killed between the POST and its record: the webhook comes again, with the same `webhook-id`."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.fakes.misbehaving_receiver import Misbehaving
from tests.fakes.valkey import Valkey
from tests.integration.webhooks.conftest import VAULT_KEY, Office

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]


async def test_a_killed_worker_sends_again_with_the_same_id(office: Office, bad: Misbehaving, valkey: Valkey) -> None:
    made = await office.subscribe(f"{bad.root}/hang", "fine_tuning.job.succeeded")
    await office.happen()
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.webhooks.dispatch_once", valkey.url, VAULT_KEY, cwd=ROOT
    )
    async with asyncio.timeout(120):
        await bad.news.wait()
    worker.kill()  # the POST has arrived, and nobody will ever write that down
    await worker.wait()
    delivery = (await office.deliveries(made["id"]))[0]
    assert (delivery["state"], delivery["attempt_count"]) == ("pending", 0)
    # The claim ends after 20 s of Redis' clock: until then no other step sends the delivery.
    assert 10 < await office.due_in(delivery["id"]) <= 20
    await office.deliver()
    assert bad.seen == ["/hang"]
    await office.make_due(made["id"])
    await office.client.webhooks.update(made["id"], url=f"{bad.root}/200")
    await office.deliver()
    assert bad.seen == ["/hang", "/200"]
    assert bad.ids[0] == bad.ids[1]
    assert (await office.deliveries(made["id"]))[0]["state"] == "delivered"
