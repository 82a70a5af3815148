"""Two checkouts: version 0.1 is killed with live jobs, and this program starts on its Redis and data directory."""

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cli.valkey_process import connect
from tests.fakes.deployment import Program
from tests.fakes.old_program import COMMIT, ROOT, Left, checkout, filled, states


def has_history() -> bool:
    """Tells whether the commit of version 0.1 can be unpacked: not without git, nor in a shallow clone."""
    command = ["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"]
    return shutil.which("git") is not None and subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def skip(left: Left, seconds: int) -> None:
    """Time passes for everything that waits in Redis."""
    with connect(left.valkey.url) as client:
        for name in client.scan_iter(match="th:due:*"):
            for member, _ in client.zscan_iter(name):
                client.zincrby(name, -seconds * 1000, member)
        for pattern in ("th:hold:*", "th:rest:*"):
            for name in client.scan_iter(match=pattern):
                client.delete(name)


@pytest.mark.skipif(not has_history(), reason="the history is not here: no git, or a shallow clone")
async def test_an_upgrade_with_live_jobs_needs_no_step_by_hand(tmp_path: Path) -> None:
    async with filled(checkout(tmp_path / "old"), tmp_path) as left:
        assert set(left.jobs.values()) == {"accepted", "uploading", "creating", "waiting", "tracked", "settled"}
        for simulator in left.simulators.values():
            await simulator.clear_faults()
        left.receiver.mended.set()
        before = len(left.receiver.hooks)
        service, worker = (
            Program([name], left.settings, tmp_path / f"new-{name}.log", forked=True) for name in ("service", "worker")
        )
        try:
            for program in (service, worker):
                program.start()
            await asyncio.to_thread(service.wait_for, "listening on")
            # Of each job that lived: its callback and four endpoints. And nine that were pending; three more have
            # no server.
            live = {name for name, stage in left.jobs.items() if stage != "settled"}
            until = time.monotonic() + 180
            while len({(hook.id, hook.path) for hook in left.receiver.hooks[before:]}) < 9 + 4 * len(live):
                assert time.monotonic() < until, (states(left), worker.said()[-4000:])
                await asyncio.to_thread(skip, left, 600)
                for simulator in left.simulators.values():
                    await simulator.advance(600)
                await asyncio.sleep(3)
            now = states(left)
        finally:
            for program in (service, worker):
                program.stop()
        assert {now[name]["status"] for name in live} == {"succeeded"}
        for simulator in left.simulators.values():
            paid = [job["metadata"] for job in await simulator.jobs()]
            assert len(paid) == len({str(metadata) for metadata in paid})
        assert "Traceback" not in service.said() + worker.said()
