"""A Redis with a real replica and a real Sentinel, as others run it: its primary is lost with its disk.

`python -m tests.chaos --failover 200` is the long form, under load.
"""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from cli.valkey_process import connect
from tests.chaos import failover
from tests.fakes.deployment import SECRET_KEY
from tests.fakes.forked import command
from tests.fakes.sentinel import Replicated, replicated
from tests.fakes.valkey import Valkey
from tunehook.errors import StoreUnavailable
from tunehook.model.member import job_member
from tunehook.store import doctor, snapshot
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


async def test_a_backup_and_a_restore_take_sentinels_for_no_programs(tmp_path: Path) -> None:
    """And what was restored outlives the primary that it was restored to."""
    with replicated(tmp_path / "first") as first, replicated(tmp_path / "second") as second:
        archive = str(tmp_path / "backup")

        async def run(*words: str, servers: Replicated = second) -> subprocess.CompletedProcess[str]:
            environment = {**os.environ, "REDIS_URL": servers.url, "TUNEHOOK_REPLICAS": "1"}
            environment |= {"TUNEHOOK_DATA_DIR": str(servers.directory / "data"), "TUNEHOOK_SECRET_KEY": SECRET_KEY}
            return await asyncio.to_thread(command, *words, environment=environment)

        made = await run("keys", "create", "--name", "laptop", servers=first)
        assert made.returncode == 0, made.stderr
        async with Store.connect(first.url) as store:
            used = (await store.redis.info("memory"))["used_memory"]
            await store.redis.config_set("maxmemory", 2 * used)  # too full to be read at once beside programs
            assert await snapshot.is_too_full(store) is False
            assert await snapshot.running(store) is None
            async with Store.connect(first.url) as another:
                await another.ping()
                assert await snapshot.running(store) == "1 other clients are connected to Redis"
                assert await snapshot.is_too_full(store) is True
        taken = await run("backup", archive, servers=first)
        assert taken.returncode == 0, taken.stderr
        [replica] = [node for port, node in second.nodes.items() if port != second.primary]
        replica.kill()
        refused = await run("restore", archive)
        assert (refused.returncode, "Start the replicas first" in refused.stderr) == (1, True), refused.stderr
        replica.start("--replicaof", f"127.0.0.1 {second.primary}")
        await asyncio.to_thread(second.wait_until_safe)
        restored = await run("restore", archive)
        assert (restored.returncode, "Restored: " in restored.stderr) == (0, True), restored.stderr
        await lose_primary(second)
        assert "laptop" in (await run("keys", "list")).stdout


@pytest.mark.timeout(900)
async def test_jobs_come_through_the_loss_of_redis_machine(tmp_path: Path) -> None:
    report = await failover.lose_redis(tmp_path, times=2, replicas=1)
    assert report.broken == []
    assert report.runs
