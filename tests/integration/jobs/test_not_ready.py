"""A file that its upstream goes on preparing."""

from tests.integration.conftest import Bench
from tests.integration.jobs.test_unknown_outcome import at_its_create
from tunehook.jobs import lifecycle
from tunehook.model.job import Stage


async def test_a_file_that_is_never_ready_is_asked_for_ever_less_often_and_its_owner_is_told(bench: Bench) -> None:
    job_id = await at_its_create(bench)
    await bench.simulator.fault("file_not_ready", path="/fine_tuning/jobs$", method="POST", times=None)
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.CREATING  # a minute or two are nothing to be told of
    assert (await bench.due_in(f"job:{job_id}") or 99) <= 3
    record = await bench.read(job_id)
    long_ago = record.job.model_copy(update={"created_at": record.job.created_at - 3600})
    await bench.ctx.store.commit(record.change(long_ago))
    await lifecycle.advance(bench.ctx, job_id)
    waiting = (await bench.read(job_id)).job.waiting
    assert waiting is not None
    assert waiting.code == "file_not_ready"
    assert 50 < (await bench.due_in(f"job:{job_id}") or 0) <= 60
    await bench.simulator.clear_faults()
    await lifecycle.advance(bench.ctx, job_id)
    assert await bench.stage(job_id) is Stage.TRACKED
