"""Together's adapter against a server made from Together's own package: the main way, and each fault."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.stored import Sent
from tests.fakes.together import TUNABLE, FakeTogether, running_together
from tests.fakes.vendor_faults import Fault
from tests.integration.conftest import MODEL, Bench
from tests.integration.upstreams.story import CONTENT, FILE, TAG, file_at, ignored, settings, spec, with_upstream
from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnknown,
    UpstreamUnsupported,
)
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.model.job import TAG as TAG_NAME
from tunehook.model.job import Stage
from tunehook.upstreams.members import suffix_mark as mark
from tunehook.upstreams.together import TogetherUpstream

LOST: list[Fault] = ["lost before", "lost after", "500 after", "500 before", "late"]


@pytest.fixture
async def fake() -> AsyncIterator[FakeTogether]:
    async with running_together() as running:
        yield running


@pytest.fixture
async def upstream(fake: FakeTogether) -> AsyncIterator[TogetherUpstream]:
    adapter = TogetherUpstream("openai", settings(f"{fake.url}/v1", fake.key))
    yield adapter
    await adapter.close()


async def ready(upstream: TogetherUpstream, folder: Path) -> str:
    with nothing_blocks():
        return await upstream.upload(Sent.of(file_at(folder)), FILE, ignored)


async def test_the_main_way_from_dataset_to_the_models_name(
    bench: Bench, fake: FakeTogether, upstream: TogetherUpstream
) -> None:
    fake.tunable.add(MODEL)
    at = with_upstream(bench, upstream)
    job_id = await at.accept(await at.file(CONTENT))
    tracked = (await at.until_tracked(job_id)).job
    assert list(fake.contents.values()) == [CONTENT]
    assert "authorization" not in fake.headers["put"]
    (made,) = fake.jobs.values()
    assert (made["id"], made["random_seed"]) == (tracked.upstream_job_id, tracked.spec.seed)
    assert made["suffix"] == mark(at.ctx.tag(tracked))
    fake.set_status("running")
    await poller.poll(at.ctx, "openai")
    fake.tell("checkpoint_save", "Saved step 10", step=10)
    fake.set_status("completed", token_count=900)
    await poller.poll(at.ctx, "openai")
    job = (await at.read(job_id)).job
    assert job.seen is not None
    assert (job.stage, job.status, job.seen.trained_tokens) == (Stage.SETTLED, "succeeded", 900)
    assert job.seen.fine_tuned_model == made["model_output_name"]
    await lifecycle.advance(at.ctx, job_id)
    entries, _ = await at.ctx.store.job_log.page(job_id, after=None, limit=50)
    said = [entry.message.message for entry in entries]
    assert "Checkpoint saved: Saved step 10" in said
    assert len(said) == len(set(said))
    (file_id,) = job.result_files.values()
    kept = await at.ctx.store.files.read(file_id, "p")
    assert kept.status == "processed"
    hello = [{"role": "user", "content": "Hello"}]
    with pytest.raises(UpstreamRefused) as refused:  # it needs an endpoint first
        async with upstream.chat({"model": job.seen.fine_tuned_model, "messages": hello}):
            pass
    assert refused.value.code == "model_not_deployed"


async def test_a_failed_job_tells_the_reason_of_its_last_events(
    bench: Bench, fake: FakeTogether, upstream: TogetherUpstream
) -> None:
    fake.tunable.add(MODEL)
    at = with_upstream(bench, upstream)
    jobs = [await at.accept() for _ in range(3)]
    for job_id in jobs:
        await at.until_tracked(job_id)
    fake.tell("job_error", "CUDA out of memory", level="error")
    fake.tell("refund", "1.20 USD were refunded")
    fake.set_status("error")
    await poller.poll(at.ctx, "openai")
    for job_id in jobs:
        job = (await at.read(job_id)).job
        assert job.error is not None
        assert (job.status, job.error.code, job.error.message) == ("failed", "job_error", "CUDA out of memory")


# ---- a create whose answer is lost


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_create_is_found_by_its_suffix(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path, fault: Fault
) -> None:
    file = await ready(upstream, tmp_path)
    wanted = spec(TUNABLE, suffix="owls")
    await upstream.create(wanted, training=file, validation=None, tag="tunehook/ftjob-another")  # same seed and file
    fake.goes_wrong("create job", fault)
    with pytest.raises(UpstreamUnknown):
        await upstream.create(wanted, training=file, validation=None, tag=TAG)
    await fake.land()
    found = await upstream.find(wanted, training=file, tag=TAG, since=0)
    made = [job for job in fake.jobs.values() if job["suffix"] == f"owls-{mark(TAG)}"]
    assert [job.id for job in found] == [job["id"] for job in made]
    assert len(made) == (0 if str(fault).endswith("before") else 1)
    assert all((job.metadata or {})[TAG_NAME] == TAG for job in found)  # ours for certain: an extra is cancelled


async def test_a_create_whose_answer_is_lost_is_adopted_by_the_story(
    bench: Bench, fake: FakeTogether, upstream: TogetherUpstream
) -> None:
    fake.tunable.add(MODEL)
    fake.goes_wrong("create job", "500 after")
    at = with_upstream(bench, upstream)
    job = (await at.until_tracked(await at.accept())).job
    assert [job.upstream_job_id] == list(fake.jobs)


async def test_where_no_suffix_is_shown_seed_and_file_decide(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path
) -> None:
    file = await ready(upstream, tmp_path)
    for seed in (7, 8):
        await upstream.create(spec(TUNABLE, seed=seed), training=file, validation=None, tag=f"t/{seed}")
    for job in fake.jobs.values():
        del job["suffix"]
    (found,) = await upstream.find(spec(TUNABLE), training=file, tag=TAG, since=0)
    assert (found.seed, found.metadata) == (7, None)  # it may be another program's, so it is never cancelled
    assert await upstream.find(spec(TUNABLE), training=file, tag=TAG, since=2_000_000_000) == []


@pytest.mark.parametrize("broken", [{"data": None}, {}, {"data": [{"suffix": f"owls-{mark(TAG)}"}]}, []])
async def test_a_list_that_cannot_be_read_does_not_say_that_nothing_was_created(
    fake: FakeTogether, upstream: TogetherUpstream, broken: object
) -> None:
    fake.goes_wrong("list jobs", web.json_response(broken))
    with pytest.raises(UpstreamUnknown):
        await upstream.find(spec(TUNABLE), training="", tag=TAG, since=0)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (402, UpstreamBusy, "insufficient_quota"),
        (412, UpstreamRefused, None),
        (409, UpstreamUnknown, None),
        (429, UpstreamBusy, None),
        (401, UpstreamUnauthorized, None),
        (503, UpstreamUnknown, None),
    ],
)
async def test_what_a_refused_create_means(
    fake: FakeTogether, upstream: TogetherUpstream, status: int, error: type[UpstreamError], code: str | None
) -> None:
    fake.goes_wrong("create job", fake.refusal(status, "Insufficient balance for tg-sim…"))
    with pytest.raises(error) as raised:
        await upstream.create(spec(TUNABLE), training="f", validation=None, tag=TAG)
    assert (type(raised.value), raised.value.code) == (error, code)


async def test_an_untrainable_base_fails_the_job_with_the_upstreams_words(
    bench: Bench, upstream: TogetherUpstream
) -> None:
    at = with_upstream(bench, upstream)
    job_id = await at.accept()
    for _ in range(3):
        await lifecycle.advance(at.ctx, job_id)
        await copy_step.copy_to_upstream(at.ctx, "openai", (await at.read(job_id)).job.training.sha256)
    job = (await at.read(job_id)).job
    assert job.error is not None
    assert job.status == "failed"
    assert "not supported for fine-tuning" in job.error.message


# ---- files


@pytest.mark.parametrize("call", ["begin file", "put", "preprocess"])
@pytest.mark.parametrize("fault", LOST)
async def test_an_upload_whose_answer_is_lost_ends_in_one_file(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path, call: str, fault: Fault
) -> None:
    fake.goes_wrong(call, fault)
    with pytest.raises(UpstreamUnknown):
        await ready(upstream, tmp_path)
    await fake.land()
    found = await upstream.find_file(FILE, len(CONTENT)) or await ready(upstream, tmp_path)
    assert (fake.contents[found], len(fake.contents)) == (CONTENT, 1)


async def test_equal_bytes_are_sent_once(fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path) -> None:
    first = await ready(upstream, tmp_path)
    again = await upstream.upload(Sent.of(file_at(tmp_path)), "file-other.0123456789abcdef.jsonl", ignored)
    assert first == again
    assert sum(asked.startswith("PUT") for asked in fake.asked) == 1
    fake.keep(first, CONTENT[:20])  # as if its bytes had not come whole
    assert (await ready(upstream, tmp_path), fake.contents[first]) == ("file-00000000", CONTENT)


async def test_a_file_that_is_never_checked_shows_why_the_job_waits(
    bench: Bench, fake: FakeTogether, upstream: TogetherUpstream
) -> None:
    fake.never_checked = True
    at = with_upstream(bench, upstream)
    job_id = await at.accept()
    await lifecycle.advance(at.ctx, job_id)
    sha256 = (await at.read(job_id)).job.training.sha256
    for _ in range(4):
        await copy_step.copy_to_upstream(at.ctx, "openai", sha256)
    await lifecycle.advance(at.ctx, job_id)
    waiting = (await at.read(job_id)).job.waiting
    assert waiting is not None
    assert waiting.code == "file_not_ready"
    assert sum(asked.startswith("PUT") for asked in fake.asked) == 1
    assert fake.jobs == {}


async def test_bad_data_is_refused_in_the_upstreams_words(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path
) -> None:
    fake.bad_data = "Line 3 has no messages"
    for _ in range(2):
        with pytest.raises(UpstreamRefused, match="Line 3 has no messages"):
            await ready(upstream, tmp_path)


async def test_a_302_to_another_host_brings_the_bytes_there_and_never_our_key(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path
) -> None:
    async with running_together() as storage:
        storage.files["file-00000000"] = {}
        fake.storage = storage.url
        with pytest.raises(UpstreamRefused, match="checksum"):  # the bytes are not at the API's own host
            await ready(upstream, tmp_path)
        assert storage.contents["file-00000000"] == CONTENT
        assert not {"authorization", "cookie"} & set(storage.headers["put"])


@pytest.mark.parametrize(
    "address",
    ["http://localhost:1/x", "https://169.254.169.254/latest", "https://10.0.0.1/x", "ftp://example.com/", "/relative"],
)
async def test_bytes_go_to_no_private_address_that_is_named_for_them(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path, address: str
) -> None:
    headers = {"Location": address, "X-Together-File-Id": "file-x"}
    fake.goes_wrong("begin file", web.Response(status=302, headers=headers))
    with pytest.raises(UpstreamUnknown, match="names an address for the upload that is refused"):
        await ready(upstream, tmp_path)
    assert fake.contents == {}


@pytest.mark.parametrize("headers", [{"Location": "https://example.com"}, {"X-Together-File-Id": "f"}, {}])
async def test_a_302_without_file_or_address_is_no_upload(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path, headers: dict[str, str]
) -> None:
    fake.goes_wrong("begin file", web.Response(status=302, headers=headers))
    with pytest.raises(UpstreamUnknown, match="names no file or no address"):
        await ready(upstream, tmp_path)


async def test_an_upload_address_that_expired_is_asked_for_again(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path
) -> None:
    fake.goes_wrong("put", web.Response(status=403, text="<Error><Code>ExpiredToken</Code></Error>"))
    with pytest.raises(UpstreamUnknown, match="answered HTTP 403"):
        await ready(upstream, tmp_path)
    found = await ready(upstream, tmp_path)
    assert fake.contents[found] == CONTENT


async def test_used_up_trial_credits_are_named(fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path) -> None:
    fake.goes_wrong("begin file", fake.refusal(401, "This job would exceed your free trial credits"))
    with pytest.raises(UpstreamUnauthorized, match="trial credits"):
        await ready(upstream, tmp_path)


async def test_a_file_that_others_get_in_parts_goes_in_one_piece(
    bench: Bench, fake: FakeTogether, upstream: TogetherUpstream
) -> None:
    at = with_upstream(bench, upstream)
    file = (await at.file(CONTENT)).model_copy(update={"bytes": copy_step.WHOLE_BYTES + 1})
    await lifecycle.advance(at.ctx, await at.accept(file))
    await copy_step.copy_to_upstream(at.ctx, "openai", file.sha256)
    record = await at.ctx.store.copies.read("openai", file.sha256)
    assert record is not None
    assert (record.copy.state, list(fake.contents.values())) == ("ready", [CONTENT])


# ---- jobs


async def test_a_dpo_job_with_a_validation_file(fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path) -> None:
    file = await ready(upstream, tmp_path)
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2, "batch_size": 16}}}
    wanted = spec(TUNABLE, method=method)
    job = await upstream.create(wanted, training=file, validation=file, tag=TAG)
    made = fake.jobs[job.id]
    assert made["training_method"] == {"method": "dpo", "dpo_beta": 0.2}
    assert (made["n_evals"], made["n_epochs"], made["batch_size"]) == (2, 2, 16)
    assert (await upstream.cancel(job.id)).status == "running"  # until the upstream has stopped it
    (model,) = await upstream.models()
    assert model["id"] == TUNABLE


async def test_checkpoints_metrics_and_events(fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path) -> None:
    file = await ready(upstream, tmp_path)
    job = await upstream.create(spec(TUNABLE), training=file, validation=None, tag=TAG)
    listed = await upstream.checkpoints(job.id, after=None, limit=1)
    assert ([row["step_number"] for row in listed["data"]], listed["has_more"]) == ([20], True)
    rest = await upstream.checkpoints(job.id, after=listed["data"][0]["id"], limit=5)
    assert ([row["step_number"] for row in rest["data"]], rest["has_more"]) == ([10], False)
    assert (await upstream.result(f"metrics:{job.id}")).decode().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "1,2.5,,,",
        "2,1.25,,1.5,",
    ]
    for _ in range(2):
        fake.events[job.id].append({"created_at": fake.now(), "type": "WARNING", "level": "legacy_iwarning"})
    told, more = await upstream.events(job.id, None)
    assert not more
    assert len({message.upstream_event_id for message in told}) == len(told) == 3
    assert [message.level for message in told] == ["warn", "warn", "info"]


async def test_what_together_lacks_is_said_in_words(upstream: TogetherUpstream) -> None:
    for call in (upstream.pause, upstream.resume):
        with pytest.raises(UpstreamUnsupported):
            await call("ft-1")
    with pytest.raises(UpstreamUnsupported, match="no graders"):
        await upstream.grade("validate", {})


@pytest.mark.parametrize("name", ["../files", "a/b", "", "x?y=1", ".."])
async def test_an_id_from_outside_is_no_path(fake: FakeTogether, upstream: TogetherUpstream, name: str) -> None:
    for call in (upstream.retrieve, upstream.cancel, upstream.delete_file, upstream.result):
        with pytest.raises(UpstreamRefused):
            await call(name)
    assert fake.asked == []


async def test_a_file_that_is_not_checked_yet_is_not_ready(
    fake: FakeTogether, upstream: TogetherUpstream, tmp_path: Path
) -> None:
    fake.never_checked = True
    for _ in range(2):
        with pytest.raises(UpstreamNotReady):
            await ready(upstream, tmp_path)
    with pytest.raises(UpstreamNotReady):
        await upstream.find_file(FILE, len(CONTENT))
