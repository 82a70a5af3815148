"""What an upstream cannot do now is waited for, with a reason; no job fails for it."""

import asyncio
from collections import Counter
from pathlib import Path

from tests.e2e.story.conftest import FAST, Story, ours, stage, why
from tests.fakes.datasets import dataset
from tests.fakes.deployment import simulator_process


async def test_ten_jobs_at_an_upstream_with_three_slots_all_end_well(story: Story) -> None:
    file_id = await story.upload()
    jobs = await asyncio.gather(*(story.submit(training_file=file_id, upstream="narrow") for _ in range(10)))

    async def seen() -> Counter[tuple[str, str, str | None]]:
        page = await story.client.fine_tuning.jobs.list(limit=20)
        return Counter((stage(job), job.status, why(job)) for job in page.data)

    in_line = ("waiting", "queued", "no_slot")
    await story.wait_for(seen, lambda found: found[in_line] == 7)
    assert [len(await story.created(job.id, "narrow")) for job in jobs].count(1) == 3

    async def three_more() -> Counter[tuple[str, str, str | None]]:
        await story.simulators["narrow"].advance(600)
        return await seen()

    ended = await story.wait_for(three_more, lambda found: found["settled", "succeeded", None] == 10)
    assert sum(ended.values()) == 10
    for job in jobs:
        assert len(await story.created(job.id, "narrow")) == 1
    hooks = await story.hooks(10)
    assert sorted(hook.event["data"]["id"] for hook in hooks) == sorted(job.id for job in jobs)
    assert {hook.event["type"] for hook in hooks} == {"fine_tuning.job.succeeded"}


async def test_a_refused_key_holds_the_upstream_and_the_job_goes_on_when_it_is_mended(story: Story) -> None:
    await story.upstream.fault("invalid_api_key", path="/fine_tuning/jobs$", method="POST", times=None)
    job = await story.submit(upstream="locked")
    waiting = await story.until(job.id, lambda job: why(job) == "invalid_api_key")
    assert (stage(waiting), waiting.status) == ("waiting", "queued")
    assert ours(waiting)["waiting"]["retry_at"] > ours(waiting)["waiting"]["since"]
    asked = await story.asked("POST", "/fine_tuning/jobs")

    second = await story.submit(upstream="locked")
    await story.until_stage(second.id, "waiting")
    assert await story.asked("POST", "/fine_tuning/jobs") == asked  # nothing is sent to an upstream on hold

    await story.upstream.clear_faults()
    story.town.skip(90)
    for waited in (job, second):
        assert (await story.until_end(waited.id)).status == "succeeded"
        assert len(await story.created(waited.id)) == 1
    assert len(await story.hooks(2)) == 2


async def test_an_upstream_that_cannot_be_reached_is_waited_for(story: Story, away_port: int, tmp_path: Path) -> None:
    job = await story.submit(upstream="away")
    waiting = await story.until_stage(job.id, "waiting")
    assert why(waiting) == "upstream_unreachable"
    with simulator_process(tmp_path, "away", *FAST, port=away_port):
        story.town.skip(90)
        assert (await story.until_end(job.id)).status == "succeeded"
        assert [hook.event["type"] for hook in await story.hooks()] == ["fine_tuning.job.succeeded"]


async def test_a_file_that_is_still_being_processed_is_no_refusal(story: Story) -> None:
    job = await story.submit(simulate="file_not_ready*1")
    assert (await story.until_end(job.id)).status == "succeeded"
    assert len(await story.created(job.id)) == 1


async def test_without_quota_a_job_waits_and_says_so(story: Story) -> None:
    job = await story.submit(simulate="insufficient_quota*1")
    waiting = await story.until_stage(job.id, "waiting")
    assert why(waiting) == "insufficient_quota"
    assert waiting.status == "queued"
    assert "quota" in ours(waiting)["waiting"]["reason"]
    assert any("quota" in line for line in await story.log(job.id))
    story.town.skip(700)
    assert (await story.until_end(job.id)).status == "succeeded"


async def test_the_same_bytes_go_to_an_upstream_once(story: Story) -> None:
    before = await story.asked("POST", "/files")
    content = dataset()
    files = [await story.upload(content), await story.upload(content)]
    assert files[0] != files[1]
    jobs = [await story.submit(training_file=file_id, callback=False) for file_id in [*files, files[0]]]
    for job in jobs:
        assert (await story.until_end(job.id)).status == "succeeded"
    assert await story.asked("POST", "/files") == before + 1
    theirs = [await story.created(job.id) for job in jobs]
    assert len({seen["training_file"] for [seen] in theirs}) == 1
