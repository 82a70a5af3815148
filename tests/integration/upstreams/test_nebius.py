"""Nebius' adapter against a server made from the recorded answers of its cookbook: what it is sent, and each fault."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.fakes.nebius import TUNABLE, FakeNebius, running_nebius
from tests.fakes.stored import Sent
from tests.fakes.vendor_faults import json_answer
from tests.integration.conftest import MODEL, Bench
from tests.integration.upstreams.story import CONTENT, FILE, TAG, file_at, ignored, spec, with_upstream
from tunehook.errors import UpstreamUnknown, UpstreamUnsupported
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.members import suffix_mark
from tunehook.upstreams.nebius import NebiusUpstream


@pytest.fixture
async def fake() -> AsyncIterator[FakeNebius]:
    async with running_nebius() as running:
        yield running


@pytest.fixture
async def upstream(fake: FakeNebius) -> AsyncIterator[NebiusUpstream]:
    at = UpstreamSettings(kind="nebius", base_url=f"{fake.url}/v1", api_key=SecretStr(fake.key))
    adapter = NebiusUpstream("openai", at)
    yield adapter
    await adapter.close()


async def created(upstream: NebiusUpstream, folder: Path, **members: Any) -> str:
    file = await upstream.upload(Sent.of(file_at(folder)), FILE, ignored)
    return (await upstream.create(spec(TUNABLE, **members), training=file, validation=None, tag=TAG)).id


async def test_a_create_has_lora_and_the_options_among_the_hyperparameters_and_no_method(
    fake: FakeNebius, upstream: NebiusUpstream, tmp_path: Path
) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}}
    await created(upstream, tmp_path, method=method, options={"lora_r": 16}, suffix="owls", metadata={"a": "b"})
    (body,) = fake.bodies
    assert body["hyperparameters"] == {"lora": True, "n_epochs": 2, "lora_r": 16}
    assert "method" not in body
    assert (body["suffix"], body["seed"]) == (f"owls-{suffix_mark(TAG)}", 7)
    assert body["metadata"] == {"a": "b", "tunehook": TAG}
    assert len(await upstream.page(None)) == 2


@pytest.mark.parametrize("keeps_metadata", [False, True])
@pytest.mark.parametrize("shows_suffix", [False, True])
@pytest.mark.parametrize("fault", ["lost before", "lost after", "500 after", "500 before"])
async def test_a_lost_create_is_found_by_what_nebius_shows(
    fake: FakeNebius, upstream: NebiusUpstream, tmp_path: Path, keeps_metadata: bool, shows_suffix: bool, fault: Any
) -> None:
    fake.keeps_metadata, fake.shows_suffix = keeps_metadata, shows_suffix
    file = await upstream.upload(Sent.of(file_at(tmp_path)), FILE, ignored)
    await upstream.create(spec(TUNABLE, seed=8), training=file, validation=None, tag="tunehook/another")
    fake.goes_wrong("create job", fault)
    with pytest.raises(UpstreamUnknown):
        await upstream.create(spec(TUNABLE), training=file, validation=None, tag=TAG)
    found = await upstream.find(spec(TUNABLE), training=file, tag=TAG, since=0)
    made = [job for job in fake.jobs.values() if job["seed"] == 7]
    assert [job.id for job in found] == [job["id"] for job in made]
    assert len(made) == (1 if fault.endswith("after") else 0)


async def test_a_job_of_the_same_seed_with_another_suffix_is_not_ours(
    fake: FakeNebius, upstream: NebiusUpstream, tmp_path: Path
) -> None:
    await created(upstream, tmp_path)
    (job,) = fake.jobs.values()
    job["suffix"] = "somebody-elses"
    assert await upstream.find(spec(TUNABLE), training="", tag=TAG, since=0) == []


async def test_an_answer_about_another_job_is_not_believed(
    fake: FakeNebius, upstream: NebiusUpstream, tmp_path: Path
) -> None:
    file = await upstream.upload(Sent.of(file_at(tmp_path)), FILE, ignored)
    body = {"id": "ftjob-1", "status": "running", "suffix": "somebody-elses", "training_file": file}
    fake.goes_wrong("create job", json_answer(body))
    with pytest.raises(UpstreamUnknown, match="about another job"):
        await upstream.create(spec(TUNABLE), training=file, validation=None, tag=TAG)


async def test_events_come_newest_first(fake: FakeNebius, upstream: NebiusUpstream, tmp_path: Path) -> None:
    job_id = await created(upstream, tmp_path)
    fake.set_status("running", trained_steps=1)
    fake.set_status("succeeded")
    events, more = await upstream.events(job_id, None)
    said = [event.message for event in events]
    assert said == ["Training completed successfully", "Training started", "Job is submitted"]
    assert not more
    assert await upstream.events(job_id, events[-1].upstream_event_id) == ([], False)


async def test_what_nebius_lacks_is_said_in_words(upstream: NebiusUpstream) -> None:
    dpo = spec(TUNABLE, method={"type": "dpo"})
    faster = spec(TUNABLE, hyperparameters={"learning_rate_multiplier": 2})
    for asked in (dpo, faster):
        with pytest.raises(UpstreamUnsupported):
            await upstream.create(asked, training="file-1", validation=None, tag=TAG)
    for call in (upstream.pause, upstream.resume):
        with pytest.raises(UpstreamUnsupported):
            await call("ftjob-1")
    with pytest.raises(UpstreamUnsupported) as parts:
        await upstream.begin_parts(FILE, 1)
    assert parts.value.status == 501  # the story then sends the file whole


async def test_the_story_adopts_a_job_whose_create_was_lost(
    bench: Bench, fake: FakeNebius, upstream: NebiusUpstream
) -> None:
    fake.tunable.add(MODEL)
    fake.goes_wrong("create job", "lost after")
    at = with_upstream(bench, upstream)
    job = (await at.until_tracked(await at.accept(await at.file(CONTENT)))).job
    assert [job.upstream_job_id] == list(fake.jobs)
