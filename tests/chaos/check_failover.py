"""A Redis with a real replica and a real Sentinel, as others run it: its primary is lost with its disk.

`python -m tests.chaos --failover 200` is the long form, under load.
"""

import asyncio
from pathlib import Path

import pytest

from cli.valkey_process import connect
from tests.chaos import failover
from tests.fakes.sentinel import Replicated, replicated
from tests.fakes.valkey import Valkey
from tunehook.errors import StoreUnavailable
from tunehook.model.member import job_member
from tunehook.store import doctor
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.rate_limits import RateLimits
from tunehook.store.store import Store

#: Seconds for a failover, on a machine that does other things as well.
PATIENCE = 120.0


def _read(node: Valkey, key: str) -> object:
    with connect(node.url) as client:
        return client.get(key)


async def lose_primary(servers: Replicated) -> None:
    lost = await asyncio.to_thread(servers.destroy_primary)
    await asyncio.to_thread(servers.wait_until_promoted, lost)
    await asyncio.to_thread(servers.join_fresh, lost)


async def until_confirmed(store: Store) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await store.confirm()
            except StoreUnavailable:
                await asyncio.sleep(0.1)


async def test_a_store_follows_to_the_new_primary(tmp_path: Path) -> None:
    """With the same connections. Scripts are loaded again, the change is noted, and a lease was on both when taken."""
    with replicated(tmp_path) as servers:
        async with Store.connect(servers.url, replicas=1) as store:
            queued = open_blocking(servers.url)
            member = job_member("ftjob-1")
            async with store.lease(member) as lease:
                await store.plan(member, 0)
                assert await store.redis_health.primary_since() == 0
                assert await asyncio.to_thread(queued.zcard, keys.due("steps")) == 1
                for node in servers.nodes.values():
                    assert await asyncio.to_thread(_read, node, keys.lease(member)) == lease.token.encode()
                await lose_primary(servers)
                await until_confirmed(store)
                await store.plan(member, 60)
                assert (await store.redis_health.primary_since() or 0) > 0
                assert (await RateLimits(store).hit("p", 60)).passes
                assert [finding.kind for finding in await doctor.findings(store)] == ["clock"]  # no scheduler runs
                assert await asyncio.to_thread(queued.zcard, keys.due("steps")) == 1


@pytest.mark.timeout(900)
async def test_jobs_come_through_the_loss_of_redis_machine(tmp_path: Path) -> None:
    report = await failover.lose_redis(tmp_path, times=2, replicas=1)
    assert report.broken == []
    assert report.runs
