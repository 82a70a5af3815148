"""Pause and resume: the answer shows the job as the upstream has it after the command."""

import asyncio

from tests.fakes.patience import eventually
from tests.integration.conftest import Bench
from tunehook.jobs import commands, poller


async def test_a_pause_is_shown_though_a_poll_wrote_the_job_while_it_was_under_way(bench: Bench) -> None:
    """The poll reads the upstream's list before the pause reaches it, and writes the record before the answer."""
    job_id = await bench.accept(simulate="stall")
    await bench.until_tracked(job_id)
    await bench.simulator.advance(3600)
    await bench.simulator.fault("delay", path="/pause$", method="POST", seconds=3)
    paused = asyncio.create_task(commands.pause_or_resume(bench.ctx, job_id, "p", "pause"))
    await eventually(
        bench.simulator.requests, lambda all_: any(str(seen["path"]).endswith("/pause") for seen in all_), every=0.01
    )
    await poller.poll(bench.ctx, "openai")
    seen = (await paused).job.seen
    assert seen is not None
    assert seen.status == "pausing"
