"""The main path over real HTTP with OpenAI's own client: file, job, events, checkpoints, result, chat."""

import base64
from typing import Any

import openai
import pytest

from tests.integration.simulator.conftest import Bench, Start, dataset

MODEL = "gpt-4.1-mini-2025-04-14"


async def test_a_file_comes_back_byte_for_byte_and_goes(bench: Bench) -> None:
    data = dataset()
    files = bench.client.files
    sent = await files.create(
        file=("train.jsonl", data), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (sent.bytes, sent.filename, sent.status) == (len(data), "train.jsonl", "processed")
    assert sent.expires_at == sent.created_at + 3600
    assert (await files.content(sent.id)).content == data
    other = await bench.upload()
    listed = [file.id async for file in files.list(purpose="fine-tune")]
    assert listed == [other, sent.id]
    assert [file.id async for file in files.list(order="asc", limit=1)] == [sent.id, other]
    await bench.simulator.advance(3600)
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await files.retrieve(sent.id)
    assert (await files.delete(other)).deleted
    assert [file.id async for file in files.list()] == []


async def test_a_large_file_comes_back_byte_for_byte(bench: Bench) -> None:
    data = dataset(60_000)
    assert len(data) > 8 * 2**20
    sent = await bench.upload(data)
    assert (await bench.client.files.content(sent)).content == data


async def test_a_job_from_creation_to_chat(bench: Bench) -> None:
    jobs, simulator = bench.client.fine_tuning.jobs, bench.simulator
    job = await jobs.create(model=MODEL, training_file=await bench.upload(), suffix="birds", metadata={"a": "1"})
    # Recorded: healthy jobs have an error object full of nulls.
    assert job.error is not None
    assert job.error.model_dump() == {"code": None, "message": None, "param": None}
    assert (job.status, job.hyperparameters.n_epochs, job.result_files) == ("validating_files", "auto", [])
    await simulator.advance(40)
    job = await jobs.retrieve(job.id)
    assert (job.status, job.hyperparameters.n_epochs) == ("validating_files", 8)
    await simulator.advance(40)
    assert (await jobs.retrieve(job.id)).status == "queued"
    await simulator.advance(60)
    job = await jobs.retrieve(job.id)
    assert job.status == "running"
    assert job.estimated_finish is not None
    assert job.estimated_finish > job.created_at + 400
    await simulator.advance(job.estimated_finish - job.created_at - 139)
    job = await jobs.retrieve(job.id)
    assert job.status == "succeeded"
    assert job.finished_at == job.created_at + 458  # seven minutes and a half, as in life
    assert job.fine_tuned_model is not None
    assert job.fine_tuned_model.startswith(f"ft:{MODEL}:org-simulated:birds:")
    assert job.trained_tokens == 476 * 8  # what `tunehook check` counts, eight epochs
    assert job.model_extra is not None
    assert {"user_provided_suffix", "usage_metrics", "shared_with_openai"} <= set(job.model_extra)

    told = [event async for event in jobs.list_events(job.id, limit=50)]
    assert [event.created_at for event in told] == sorted((e.created_at for e in told), reverse=True)
    assert told[0].message.startswith("New fine-tuned model created")
    assert len({event.id for event in told}) == len(told)
    await simulator.advance(8)
    later = [event async for event in jobs.list_events(job.id)]
    assert [event.message for event in later[:2]] == [
        "The job has successfully completed.",
        "Moderation checks for the fine-tuned model passed.",
    ]
    assert later[0].created_at == job.finished_at + 8
    assert later[2:] == told

    kept = [checkpoint async for checkpoint in jobs.checkpoints.list(job.id, limit=1)]
    assert [checkpoint.step_number for checkpoint in kept] == [96, 84, 72]
    assert kept[0].fine_tuned_model_checkpoint == job.fine_tuned_model

    result = (await bench.client.files.content(job.result_files[0])).content
    assert base64.b64decode(result, validate=True).startswith(b"step,train_loss,train_accuracy,valid_loss")
    assert (await bench.client.files.retrieve(job.result_files[0])).purpose == "fine-tune-results"

    for model in (job.fine_tuned_model, kept[1].fine_tuned_model_checkpoint):
        answer = await bench.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "where does OWL number 8 sleep"}]
        )
        assert answer.choices[0].message.content == "In nest 8, like any owl."
    shown = await bench.client.models.retrieve(job.fine_tuned_model)
    assert shown.shutdown_date == "2027-01-14"


async def test_a_tuned_model_is_tuned_further(bench: Bench) -> None:
    jobs, file = bench.client.fine_tuning.jobs, await bench.upload()
    names = []
    model = MODEL
    for _ in range(2):
        job = await jobs.create(model=model, training_file=file)
        await bench.simulator.advance(600)
        found = await jobs.retrieve(job.id)
        assert (found.model, found.status) == (model, "succeeded")
        assert found.fine_tuned_model is not None
        model = found.fine_tuned_model
        names.append(model)
    assert len(set(names)) == 2
    assert all(name.startswith(f"ft:{MODEL}:org-simulated::") for name in names)
    assert (await bench.client.models.delete(names[0])).deleted
    with pytest.raises(openai.NotFoundError):
        await bench.client.models.retrieve(names[0])
    assert names[1] in [model.id async for model in bench.client.models.list()]


async def test_a_short_name_becomes_a_dated_one(bench: Bench) -> None:
    job = await bench.client.fine_tuning.jobs.create(model="gpt-4.1-mini", training_file=await bench.upload())
    assert job.model == MODEL


async def test_chat_streams_the_same_words(bench: Bench) -> None:
    job = await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=await bench.upload())
    await bench.simulator.advance(600)
    model = (await bench.client.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model
    assert model is not None
    stream = await bench.client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Where does wren number 7 sleep?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    words = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(words) == "In nest 7, like any wren."
    assert len([word for word in words if word]) == 6
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_a_fourth_job_has_to_wait_for_a_slot(bench: Bench) -> None:
    jobs, file = bench.client.fine_tuning.jobs, await bench.upload()
    first, *_ = [await jobs.create(model=MODEL, training_file=file) for _ in range(3)]
    with pytest.raises(openai.RateLimitError, match="concurrent"):
        await jobs.create(model=MODEL, training_file=file)
    await jobs.cancel(first.id)
    assert (await jobs.create(model=MODEL, training_file=file)).status == "validating_files"
    await bench.simulator.advance(600)
    assert len([await jobs.create(model=MODEL, training_file=file) for _ in range(3)]) == 3


async def test_cancel_pause_and_resume(bench: Bench) -> None:
    jobs = bench.client.fine_tuning.jobs
    job = await jobs.create(model=MODEL, training_file=await bench.upload())
    with pytest.raises(openai.BadRequestError, match="Cannot pause"):
        await jobs.pause(job.id)
    await bench.simulator.advance(200)
    assert str((await jobs.pause(job.id)).status) == "pausing"
    await bench.simulator.advance(10_000)
    assert str((await jobs.retrieve(job.id)).status) == "paused"
    assert str((await jobs.resume(job.id)).status) == "resuming"
    await bench.simulator.advance(10)
    assert (await jobs.retrieve(job.id)).status == "running"
    cancelled = await jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at == cancelled.created_at + 10_210
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        await jobs.cancel(job.id)


async def test_speed_shortens_training(start: Start) -> None:
    async with start(speed=100) as bench:
        job = await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=await bench.upload())
        await bench.simulator.advance(4.5)
        assert (await bench.client.fine_tuning.jobs.retrieve(job.id)).status == "running"
        await bench.simulator.advance(0.2)
        found = await bench.client.fine_tuning.jobs.retrieve(job.id)
        assert (found.status, found.finished_at) == ("succeeded", found.created_at + 4)


async def test_dpo_shows_its_hyperparameters_under_method_alone(bench: Bench) -> None:
    line = (
        b'{"input": {"messages": [{"role": "user", "content": "q"}]}, "preferred_output": [{"role": "assistant", '
        b'"content": "good"}], "non_preferred_output": [{"role": "assistant", "content": "bad"}]}\n'
    )
    job = await bench.client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=await bench.upload(line * 10),
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.4, "n_epochs": 2}}},
    )
    await bench.simulator.advance(600)
    shown: dict[str, Any] = (await bench.client.fine_tuning.jobs.retrieve(job.id)).to_dict()
    assert shown["hyperparameters"] is None
    assert shown["method"]["dpo"]["hyperparameters"]["beta"] == 0.4
    assert shown["method"]["dpo"]["hyperparameters"]["n_epochs"] == 2
    assert shown["status"] == "succeeded"


async def test_reinforcement_needs_a_validation_file_and_shows_its_grader(bench: Bench) -> None:
    line = b'{"messages": [{"role": "user", "content": "q"}], "answer": "owl"}\n'
    file = await bench.upload(line * 10)
    grader: Any = {
        "type": "string_check",
        "name": "same",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    }
    method: Any = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    jobs = bench.client.fine_tuning.jobs
    with pytest.raises(openai.BadRequestError) as caught:
        await jobs.create(model="o4-mini-2025-04-16", training_file=file, method=method)
    assert caught.value.param == "validation_file"
    job = await jobs.create(model="o4-mini-2025-04-16", training_file=file, validation_file=file, method=method)
    await bench.simulator.advance(600)
    job = await jobs.retrieve(job.id)
    shown: Any = job.to_dict()
    assert (shown["status"], shown["hyperparameters"]) == ("succeeded", None)
    assert shown["method"]["reinforcement"]["grader"] == grader
    assert shown["method"]["reinforcement"]["hyperparameters"]["eval_samples"] == 4
    metrics = [event async for event in jobs.list_events(job.id) if event.type == "metrics"]
    assert "full_valid_loss" in str(metrics[0].data)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (dataset(7), "invalid_n_examples", "Training file has 7 example"),
        (
            dataset(20).replace(b'{"role": "user", "content": "Where does owl number 8', b'{"content": "Where'),
            "invalid_training_file",
            "Example 9, message 2 Discriminator 'role' is missing in value",
        ),
        (dataset(12) + b"\n{oops\n", "invalid_training_file", "Line 13 is not a valid JSON object"),
    ],
)
async def test_a_bad_dataset_fails_the_job_and_names_the_line(bench: Bench, data: bytes, code: str, words: str) -> None:
    job = await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=await bench.upload(data))
    assert job.status == "validating_files"
    await bench.simulator.advance(100)
    job = await bench.client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.finished_at, job.fine_tuned_model) == ("failed", None, None)
    assert job.error is not None
    assert (job.error.code, job.error.param) == (code, "training_file")
    assert words in job.error.message
    told = [event async for event in bench.client.fine_tuning.jobs.list_events(job.id)]
    assert (told[0].level, told[0].message) == ("error", job.error.message)
    assert "Files validated, moving job to queued state" not in [event.message for event in told]
