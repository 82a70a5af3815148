"""Cancel at every stage: nothing goes on running, nothing is created afterwards, and the subscriber is told once."""

import pytest
from openai import BadRequestError

from tests.e2e.story.conftest import Story, ours, stage


async def told(story: Story) -> None:
    hooks = await story.hooks()
    assert [hook.event["type"] for hook in hooks] == ["fine_tuning.job.cancelled"]


async def test_accepted(story: Story) -> None:
    with story.town.worker.paused():
        job = await story.submit()
        cancelled = await story.client.fine_tuning.jobs.cancel(job.id)
        assert (cancelled.status, stage(cancelled)) == ("cancelled", "settled")
        assert ours(cancelled)["upstream_job_id"] is None
    await told(story)
    assert await story.created(job.id) == []


async def test_uploading(story: Story) -> None:
    before = await story.asked("POST", "/files")
    await story.upstream.fault("delay", path="/files$", method="POST", seconds=10)
    job = await story.submit()
    await story.wait_for(lambda: story.asked("POST", "/files"), lambda count: count > before)
    assert stage(await story.client.fine_tuning.jobs.retrieve(job.id)) == "uploading"
    cancelled = await story.client.fine_tuning.jobs.cancel(job.id)
    assert (cancelled.status, stage(cancelled)) == ("cancelled", "settled")
    await told(story)
    assert await story.created(job.id) == []


async def test_waiting(story: Story) -> None:
    job = await story.submit(simulate="insufficient_quota*1")
    await story.until_stage(job.id, "waiting")
    cancelled = await story.client.fine_tuning.jobs.cancel(job.id)
    assert (cancelled.status, stage(cancelled)) == ("cancelled", "settled")
    await told(story)
    story.town.skip(700)
    assert (await story.client.fine_tuning.jobs.retrieve(job.id)).status == "cancelled"
    assert await story.created(job.id) == []


async def test_while_the_create_is_under_way(story: Story) -> None:
    before = await story.asked("POST", "/fine_tuning/jobs")
    await story.upstream.fault("delay", path="/fine_tuning/jobs$", method="POST", seconds=2)
    job = await story.submit(simulate="stall")
    await story.wait_for(lambda: story.asked("POST", "/fine_tuning/jobs"), lambda count: count > before)
    await story.client.fine_tuning.jobs.cancel(job.id)
    ended = await story.until_end(job.id)
    assert ended.status == "cancelled"
    [theirs] = await story.created(job.id)
    assert theirs["status"] == "cancelled"
    await told(story)


async def test_after_a_create_whose_answer_was_lost(story: Story) -> None:
    await story.upstream.fault("after_reset", path="/fine_tuning/jobs$", method="POST")
    job = await story.submit(simulate="stall")
    await story.wait_for(lambda: story.created(job.id), lambda found: len(found) == 1)
    await story.client.fine_tuning.jobs.cancel(job.id)  # within the settle time, unless the machine stood still
    assert (await story.until_end(job.id)).status == "cancelled"
    [theirs] = await story.created(job.id)
    assert theirs["status"] == "cancelled"
    assert len(await story.hooks()) == 1


async def test_tracked(story: Story) -> None:
    job = await story.submit(simulate="stall")
    running = await story.until(job.id, lambda job: job.status == "running")
    assert stage(running) == "tracked"
    cancelled = await story.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None
    [theirs] = await story.created(job.id)
    assert theirs["status"] == "cancelled"
    await told(story)
    again = await story.client.fine_tuning.jobs.cancel(job.id)  # twice is no mistake
    assert again.status == "cancelled"
    await told(story)


async def test_ended(story: Story) -> None:
    job = await story.submit(callback=False)
    await story.until_end(job.id)
    with pytest.raises(BadRequestError, match=r"already ended \(succeeded\)") as refused:
        await story.client.fine_tuning.jobs.cancel(job.id)
    assert refused.value.code == "job_already_ended"
