"""When the answer to a create is lost: looked for, adopted, never paid twice. Settle time is 2 s here."""

import pytest
from openai import AsyncOpenAI

from tests.e2e.story.conftest import Story, ours, stage


@pytest.mark.parametrize("fault", ["after_reset", "after_http_500", "after_malformed"])
async def test_a_job_whose_create_got_no_answer_is_found_and_adopted(story: Story, fault: str) -> None:
    job = await story.submit(simulate=f"{fault}*1")
    assert (await story.until_end(job.id)).status == "succeeded"
    [theirs] = await story.created(job.id)
    assert ours(await story.client.fine_tuning.jobs.retrieve(job.id))["upstream_job_id"] == theirs["id"]
    assert len(await story.hooks()) == 1
    assert any("searched for before it is created again" in line for line in await story.log(job.id))


async def test_a_job_that_comes_into_being_late_is_adopted_when_it_does(story: Story) -> None:
    job = await story.submit(simulate="late_reset:1.8*1")
    assert (await story.until_end(job.id)).status == "succeeded"
    assert len(await story.created(job.id)) == 1
    assert len(await story.hooks()) == 1


async def test_one_that_never_came_is_created_again_after_the_settle_time(story: Story) -> None:
    job = await story.submit(simulate="reset*1")
    assert (await story.until_end(job.id)).status == "succeeded"
    assert len(await story.created(job.id)) == 1


async def test_an_extra_that_turns_up_after_all_is_cancelled(story: Story) -> None:
    await story.upstream.fault("late_reset", path="/fine_tuning/jobs$", method="POST", seconds=3600)
    job = await story.submit(simulate="stall")
    tracked = await story.until_stage(job.id, "tracked")
    adopted = ours(tracked)["upstream_job_id"]
    await story.upstream.advance(3600)
    both = await story.wait_for(
        lambda: story.created(job.id), lambda found: sorted(str(seen["status"]) for seen in found)[0] == "cancelled"
    )
    extras = [seen for seen in both if seen["id"] != adopted]
    assert [seen["status"] for seen in extras] == ["cancelled"]
    assert [seen["status"] for seen in both if seen["id"] == adopted] == ["running"]
    await story.wait_for(lambda: story.log(job.id), lambda lines: any(extras[0]["id"] in line for line in lines))
    assert (await story.cancel(job.id)).status == "cancelled"


async def test_statuses_that_nobody_documented_are_no_ends(story: Story) -> None:
    job = await story.submit(simulate="stall")
    running = await story.until(job.id, lambda job: job.status == "running")
    upstream_id = ours(running)["upstream_job_id"]
    async with AsyncOpenAI(base_url=story.upstream.base_url, api_key="sk-simulated") as person:
        await person.fine_tuning.jobs.pause(upstream_id)
        paused = await story.until(job.id, lambda job: str(job.status) == "paused")
        assert (stage(paused), paused.finished_at) == ("tracked", None)
        await person.fine_tuning.jobs.resume(upstream_id)
        await story.until(job.id, lambda job: job.status == "running")
        assert story.receiver.hooks == []
        await person.fine_tuning.jobs.cancel(upstream_id)
    assert (await story.until_end(job.id)).status == "cancelled"


async def test_azure_speaks_another_dialect_and_ends_as_well(story: Story) -> None:
    stuck = await story.submit(upstream="azure", simulate="stall_validating")
    pending = await story.until(stuck.id, lambda job: ours(job)["upstream_status"] == "pending")
    assert stage(pending) == "tracked"
    await story.client.fine_tuning.jobs.cancel(stuck.id)
    assert (await story.until_end(stuck.id)).status == "cancelled"

    job = await story.submit(upstream="azure")
    ended = await story.until_end(job.id)
    assert ended.status == "succeeded"
    assert ended.fine_tuned_model
    assert ".ft-" in ended.fine_tuned_model
    assert [hook.event["type"] for hook in await story.hooks(2)] == [
        "fine_tuning.job.cancelled",
        "fine_tuning.job.succeeded",
    ]
