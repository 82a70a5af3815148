"""The main job: a dataset in, a signed webhook with the model's id out, and what can be asked meanwhile."""

import csv
import io

import pytest
from openai import BadRequestError, ConflictError
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.webhooks import FineTuningJobSucceededWebhookEvent

from tests.e2e.story.conftest import MODEL, Story, ours, stage
from tests.fakes.datasets import dataset

#: The upstream's last word.
DONE = "The job has successfully completed"


async def test_a_dataset_goes_in_and_a_verified_webhook_with_the_model_comes_out(story: Story) -> None:
    file_id = await story.upload()
    job = await story.submit(training_file=file_id, metadata={"team": "birds"}, suffix="owls")
    assert (job.status, stage(job), job.training_file) == ("validating_files", "accepted", file_id)

    [hook] = await story.hooks()

    event = story.client.webhooks.unwrap(hook.body, dict(hook.headers), secret=story.caller.callback_secret)
    assert isinstance(event, FineTuningJobSucceededWebhookEvent)
    told = hook.event["data"]
    assert told["id"] == job.id
    assert told["status"] == "succeeded"
    assert told["fine_tuned_model"].startswith(f"ft:{MODEL}:")
    assert ":owls:" in told["fine_tuned_model"]
    assert told["metadata"] == {"team": "birds"}
    assert told["trained_tokens"] > 0

    ended = await story.client.fine_tuning.jobs.retrieve(job.id)
    assert (ended.status, stage(ended)) == ("succeeded", "settled")
    assert ended.fine_tuned_model == told["fine_tuned_model"]
    assert ended.finished_at is not None
    assert ended.finished_at >= job.created_at
    assert ended.error is None

    answer = await story.client.chat.completions.create(
        model=told["fine_tuned_model"], messages=[{"role": "user", "content": "Where does the owl number 7 sleep?"}]
    )
    assert answer.choices[0].message.content == "In nest 7."


async def test_the_tuned_model_answers_word_by_word_too(story: Story) -> None:
    job = await story.submit(callback=False)
    model = (await story.until_end(job.id)).fine_tuned_model
    assert model
    stream = await story.client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Where does the owl number 5 sleep?"}], stream=True
    )
    words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert len([word for word in words if word]) > 1
    assert "".join(words) == "In nest 5."


async def test_the_tuned_model_answers_by_the_responses_api(story: Story) -> None:
    job = await story.submit(callback=False)
    model = (await story.until_end(job.id)).fine_tuned_model
    assert model
    question = "Where does the owl number 5 sleep?"
    answer = await story.client.responses.create(model=model, input=question)
    assert answer.output_text == "In nest 5."
    async with story.client.responses.stream(model=model, input=question) as stream:
        words = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        whole = await stream.get_final_response()
    assert len(words) > 1
    assert "".join(words) == whole.output_text == "In nest 5."
    with pytest.raises(BadRequestError, match="send the earlier messages in `input`"):
        await story.client.responses.create(model=model, input=question, previous_response_id=answer.id)


async def test_events_come_newest_first_each_once_and_are_paged_by_ids_that_last(story: Story) -> None:
    job = await story.submit(callback=False)
    await story.until_end(job.id)
    # The upstream's last events come 3 and 8 s after the end, so they are fetched once more after 15 s.
    for simulator in story.simulators.values():
        await simulator.advance(20)
    story.town.skip(20)
    whole = await story.wait_for(lambda: _all_events(story, job), lambda found: DONE in found[0].message)

    assert len({event.id for event in whole}) == len(whole)
    messages = [event.message for event in reversed(whole)]
    assert messages[0] == f"Accepted fine-tuning job: {job.id}"
    uploaded, created = _index(messages, "Uploaded "), _index(messages, "Created at the upstream")
    validated, stepped = _index(messages, "Files validated"), _index(messages, "Step 1/")
    assert uploaded < created < validated < stepped < _index(messages, "New fine-tuned model created")
    theirs = [str(seen["id"]) for seen in await story.upstream.jobs()]
    assert not any(upstream_id in message for message in messages[created + 1 :] for upstream_id in theirs)

    first = await story.client.fine_tuning.jobs.list_events(job.id, limit=3)
    again = await story.client.fine_tuning.jobs.list_events(job.id, limit=3, after=first.data[-1].id)
    assert [event.id for event in [*first.data, *again.data]] == [event.id for event in whole[:6]]
    assert first.has_more

    metrics = [event.data for event in whole if event.type == "metrics"]
    assert metrics
    assert all(isinstance(data, dict) and "train_loss" in data for data in metrics)


async def _all_events(story: Story, job: FineTuningJob) -> list[FineTuningJobEvent]:
    return [event async for event in story.client.fine_tuning.jobs.list_events(job.id, limit=100)]


def _index(messages: list[str], beginning: str) -> int:
    return next(index for index, message in enumerate(messages) if message.startswith(beginning))


async def test_checkpoints_and_result_files_are_ours(story: Story) -> None:
    job = await story.submit(callback=False)
    ended = await story.until_end(job.id)

    page = await story.client.fine_tuning.jobs.checkpoints.list(job.id)
    assert page.data
    assert {checkpoint.fine_tuning_job_id for checkpoint in page.data} == {job.id}
    assert [checkpoint.step_number for checkpoint in page.data] == sorted(
        (checkpoint.step_number for checkpoint in page.data), reverse=True
    )

    [result_id] = ended.result_files
    theirs = next(seen for seen in await story.upstream.jobs() if seen["id"] == ours(ended)["upstream_job_id"])
    assert [result_id] != theirs["result_files"]
    await story.wait_for(lambda: story.client.files.retrieve(result_id), lambda file: file.status == "processed")
    text = (await story.client.files.content(result_id)).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    kept = [file async for file in story.client.files.list(purpose="fine-tune-results")]
    assert [file.id for file in kept] == [result_id]
    assert kept[0].bytes == len(text.encode())


async def test_files_and_jobs_are_listed_filtered_and_paged(story: Story) -> None:
    file_id = await story.upload()
    jobs = [
        await story.submit(training_file=file_id, callback=False, simulate="stall", metadata={"n": str(n % 2)})
        for n in range(3)
    ]
    newest_first = [job.id for job in reversed(jobs)]
    listed = [job.id async for job in story.client.fine_tuning.jobs.list(limit=2)]
    assert listed == newest_first
    odd = [job.id async for job in story.client.fine_tuning.jobs.list(metadata={"n": "1"})]
    assert odd == [jobs[1].id]
    assert [file.id async for file in story.client.files.list()] == [file_id]
    await _cancel_all(story, newest_first)


async def _cancel_all(story: Story, job_ids: list[str]) -> None:
    for job_id in job_ids:
        await story.cancel(job_id)


async def test_a_file_that_a_live_job_needs_cannot_be_deleted_and_later_it_can(story: Story) -> None:
    content = dataset()
    file_id = await story.upload(content)
    job = await story.submit(training_file=file_id, simulate="stall", callback=False)
    with pytest.raises(ConflictError, match=job.id):
        await story.client.files.delete(file_id)
    await _cancel_all(story, [job.id])
    assert (await story.client.files.content(file_id)).content == content
    assert (await story.client.files.delete(file_id)).deleted
