"""Together's official client, driven against our fake of Together: its types parse each answer.

What it sends for the same job holds what our adapter sends.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import together

from tests.fakes.stored import Sent
from tests.fakes.together import TUNABLE, FakeTogether, running_together
from tests.integration.upstreams.story import CONTENT, FILE, TAG, file_at, ignored, settings, spec
from tunehook.upstreams.members import suffix_mark as mark
from tunehook.upstreams.together import TogetherUpstream


@pytest.fixture
async def fake() -> AsyncIterator[FakeTogether]:
    async with running_together() as running:
        yield running


@pytest.fixture
async def official(fake: FakeTogether) -> AsyncIterator[together.AsyncTogether]:
    async with together.AsyncTogether(
        api_key=fake.key, base_url=fake.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
async def upstream(fake: FakeTogether) -> AsyncIterator[TogetherUpstream]:
    adapter = TogetherUpstream("together", settings(fake.url, fake.key))  # its base URL has no /v1 here
    yield adapter
    await adapter.close()


async def test_files(official: together.AsyncTogether, fake: FakeTogether, tmp_path: Path) -> None:
    path = file_at(tmp_path)
    file = await official.files.upload(path, purpose="fine-tune", check=False)
    assert (file.processing_status, file.bytes) == ("COMPLETED", len(CONTENT))
    assert fake.contents[file.id] == CONTENT
    again = await official.files.upload(path, purpose="fine-tune", check=False)
    assert again.id == file.id  # by the 409
    assert [one.id for one in (await official.files.list()).data] == [file.id]
    fake.bad_data = "Line 3 has no messages"
    bad = await official.files.upload(file_at(tmp_path, b"{}\n"), purpose="fine-tune", check=False)
    report = (await official.files.retrieve(bad.id)).validation_report
    assert report is not None
    assert report.error == "Line 3 has no messages"
    assert (await official.files.delete(bad.id)).deleted


async def test_a_fine_tune(official: together.AsyncTogether, fake: FakeTogether, tmp_path: Path) -> None:
    file = await official.files.upload(file_at(tmp_path), purpose="fine-tune", check=False)
    job = await official.fine_tuning.create(training_file=file.id, model=TUNABLE, suffix="owls", random_seed=7)
    fake.tell("checkpoint_save", "Saved step 10", step=10)
    fake.tell("job_error", "CUDA out of memory", level="error")
    fake.set_status("running", progress={"estimate_available": True, "seconds_remaining": 60})
    (listed,) = (await official.fine_tuning.list()).data
    assert (listed.id, listed.status, listed.suffix, listed.random_seed) == (job.id, "running", "owls", 7)
    read = await official.fine_tuning.retrieve(job.id)
    assert "suffix" not in read.to_dict()
    told = (await official.fine_tuning.list_events(job.id)).data
    assert [event.type for event in told] == ["job_pending", "checkpoint_save", "job_error"]
    assert [point.step for point in (await official.fine_tuning.list_checkpoints(job.id)).data] == [10, 20]
    metrics = (await official.fine_tuning.list_metrics(job.id)).metrics
    assert metrics is not None
    assert metrics[0]["train/loss"] == 2.5
    assert (await official.fine_tuning.cancel(job.id)).status == "cancel_requested"
    fake.set_status("completed", token_count=900, total_price=4_500_000_000)
    assert (await official.fine_tuning.retrieve(job.id)).token_count == 900


async def test_the_adapter_sends_what_the_official_client_sends(
    official: together.AsyncTogether, upstream: TogetherUpstream, fake: FakeTogether, tmp_path: Path
) -> None:
    file_id = await upstream.upload(Sent.of(file_at(tmp_path)), FILE, ignored)
    same = await official.files.upload(file_at(tmp_path), purpose="fine-tune", check=False)
    assert same.id == file_id  # both name the bytes by the same checksum
    ending = f"owls-{mark(TAG)}"
    for method in (None, {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2}}}):
        ours = await upstream.create(
            spec(TUNABLE, suffix="owls", method=method), training=file_id, validation=file_id, tag=TAG
        )
        theirs = await official.fine_tuning.create(
            training_file=file_id,
            validation_file=file_id,
            model=TUNABLE,
            suffix=ending,
            random_seed=7,
            n_epochs=2 if method else 1,
            n_evals=2 if method else 1,
            training_method="dpo" if method else "sft",
            train_on_inputs=None if method else "auto",
            dpo_beta=0.2 if method else None,
        )
        sent, official_sent = fake.jobs[ours.id], fake.jobs[theirs.id]
        for member in ("model", "training_file", "validation_file", "n_epochs", "n_evals", "suffix", "random_seed"):
            assert sent[member] == official_sent[member], member
        assert sent["training_method"].items() <= official_sent["training_method"].items()
    found = await upstream.find(spec(TUNABLE), training=file_id, tag=TAG, since=0)
    assert [job.id for job in found] == list(fake.jobs)


async def test_limits_and_prices(official: together.AsyncTogether, upstream: TogetherUpstream, tmp_path: Path) -> None:
    assert (await official.fine_tuning.model_limits(model_name=TUNABLE)).lora_training.default_rank == 64
    file_id = await upstream.upload(Sent.of(file_at(tmp_path)), FILE, ignored)
    told = await official.fine_tuning.estimate_price(training_file=file_id, model=TUNABLE)
    assert told.estimation_available
    unknown = await official.fine_tuning.estimate_price(training_file="file-unknown", model=TUNABLE)
    assert not unknown.estimation_available


async def test_the_synchronous_client_takes_the_same_way(fake: FakeTogether, tmp_path: Path) -> None:
    path = file_at(tmp_path)

    def _upload() -> str:
        with together.Together(api_key=fake.key, base_url=fake.url, max_retries=0) as client:
            return str(client.files.upload(path, purpose="fine-tune", check=False).id)

    assert fake.contents[await asyncio.to_thread(_upload)] == CONTENT
