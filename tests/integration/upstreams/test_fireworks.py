"""Fireworks' adapter against a server made from Fireworks' own package: the main way, and each fault."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.fireworks import DPO, SUPERVISED, TUNABLE, FakeFireworks, running_fireworks
from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.stored import Sent
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
    UpstreamUnreachable,
    UpstreamUnsupported,
)
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.model.job import Stage
from tunehook.upstreams.fireworks import FireworksUpstream
from tunehook.upstreams.fireworks_dialect import named

LOST: list[Fault] = ["lost before", "lost after", "500 after", "500 before", "late"]


@pytest.fixture
async def fake() -> AsyncIterator[FakeFireworks]:
    async with running_fireworks() as running:
        yield running


@pytest.fixture
async def upstream(fake: FakeFireworks) -> AsyncIterator[FireworksUpstream]:
    adapter = FireworksUpstream("openai", settings(fake.url, fake.key), account_id=fake.account)
    yield adapter
    await adapter.close()


async def ready(upstream: FireworksUpstream, folder: Path) -> str:
    with nothing_blocks():
        return await upstream.upload(Sent.of(file_at(folder)), FILE, ignored)


async def test_the_main_way_from_dataset_to_the_models_name(
    bench: Bench, fake: FakeFireworks, upstream: FireworksUpstream
) -> None:
    fake.tunable.add(MODEL)
    at = with_upstream(bench, upstream)
    job_id = await at.accept(await at.file(CONTENT))
    tracked = (await at.until_tracked(job_id)).job
    (dataset,) = fake.datasets.values()
    assert (dataset.content, dataset.shown["exampleCount"]) == (CONTENT, str(CONTENT.count(b"\n")))
    (made,) = fake.all_jobs()
    assert made["name"].endswith(f"/{SUPERVISED}/{named(at.ctx.tag(tracked))}")
    assert tracked.upstream_job_id == named(at.ctx.tag(tracked))
    fake.set_state("JOB_STATE_RUNNING", jobProgress={"percent": 40, "epoch": 1, "inputTokens": 900})
    await poller.poll(at.ctx, "openai")
    running = (await at.read(job_id)).job.seen
    assert running is not None
    assert running.status == "running"
    fake.set_state("JOB_STATE_COMPLETED", estimatedCost={"currencyCode": "USD", "units": "2", "nanos": 500_000_000})
    await poller.poll(at.ctx, "openai")
    job = (await at.read(job_id)).job
    assert job.seen is not None
    assert (job.stage, job.status, job.seen.trained_tokens) == (Stage.SETTLED, "succeeded", 900)
    assert job.seen.fine_tuned_model == f"accounts/acme/models/{named(at.ctx.tag(job))}"
    await lifecycle.advance(at.ctx, job_id)
    entries, _ = await at.ctx.store.job_log.page(job_id, after=None, limit=50)
    said = [entry.message.message for entry in entries]
    assert "40 % done" in said
    assert "Estimated cost: 2.50 USD" in said
    assert len(said) == len(set(said))
    async with upstream.chat({"model": job.seen.fine_tuned_model, "messages": []}) as passed:
        assert passed.status == 404  # it has to be deployed first
        assert b"not deployed" in b"".join([chunk async for chunk in passed.chunks])


# ---- a create whose answer is lost


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_create_is_decided_by_one_look_and_never_doubles(
    fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path, fault: Fault
) -> None:
    dataset = await ready(upstream, tmp_path)
    fake.goes_wrong("create job", fault)
    with pytest.raises(UpstreamUnknown):
        await upstream.create(spec(TUNABLE), training=dataset, validation=None, tag=TAG)
    found = await upstream.find(spec(TUNABLE), training=dataset, tag=TAG, since=0)
    assert len(found) == len(fake.all_jobs()) == (1 if str(fault).endswith("after") else 0)
    again = await upstream.create(spec(TUNABLE), training=dataset, validation=None, tag=TAG)
    await fake.land()
    assert [job.id for job in found or [again]] == [again.id]
    assert len(fake.all_jobs()) == 1


async def test_a_create_whose_answer_is_lost_is_adopted_by_the_story(
    bench: Bench, fake: FakeFireworks, upstream: FireworksUpstream
) -> None:
    fake.tunable.add(MODEL)
    fake.goes_wrong("create job", "lost after")
    at = with_upstream(bench, upstream)
    job = (await at.until_tracked(await at.accept())).job
    assert job.upstream_job_id == named(at.ctx.tag(job))
    assert len(fake.all_jobs()) == 1


async def test_an_id_that_exists_with_another_body_is_refused_and_nothing_is_made(
    fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path
) -> None:
    dataset = await ready(upstream, tmp_path)
    await upstream.create(spec(TUNABLE), training=dataset, validation=None, tag=TAG)
    fake.all_jobs()[0]["dataset"] = "accounts/acme/datasets/another"
    assert await upstream.find(spec(TUNABLE), training=dataset, tag=TAG, since=0) == []
    with pytest.raises(UpstreamRefused, match="another model or dataset"):
        await upstream.create(spec(TUNABLE), training=dataset, validation=None, tag=TAG)
    assert len(fake.all_jobs()) == 1


@pytest.mark.parametrize(
    ("status", "message", "error", "code"),
    [
        (402, "Add a payment method", UpstreamBusy, "insufficient_quota"),
        (412, "Fine-tuning is not enabled for the account", UpstreamRefused, "failed_precondition"),
        (429, "GPU quota exceeded", UpstreamBusy, None),
        (401, "Invalid key fw-sim…", UpstreamUnauthorized, None),
        (400, "Model is not tunable", UpstreamRefused, "invalid_argument"),
        (503, "Unavailable", UpstreamUnknown, "unavailable"),
    ],
)
async def test_what_a_refused_create_means(
    fake: FakeFireworks,
    upstream: FireworksUpstream,
    status: int,
    message: str,
    error: type[UpstreamError],
    code: str | None,
) -> None:
    fake.goes_wrong("create job", fake.refusal(status, message))
    with pytest.raises(error) as raised:
        await upstream.create(spec(TUNABLE), training="d", validation=None, tag=TAG)
    assert (type(raised.value), raised.value.code) == (error, code)
    assert ("fw-sim" in raised.value.message) is False


async def test_an_untrainable_base_fails_the_job_with_the_upstreams_words(
    bench: Bench, fake: FakeFireworks, upstream: FireworksUpstream
) -> None:
    at = with_upstream(bench, upstream)
    job_id = await at.accept()
    for _ in range(3):
        await lifecycle.advance(at.ctx, job_id)
        await copy_step.copy_to_upstream(at.ctx, "openai", (await at.read(job_id)).job.training.sha256)
    job = (await at.read(job_id)).job
    assert job.error is not None
    assert (job.status, job.error.code) == ("failed", "invalid_argument")
    assert "is not tunable" in job.error.message


# ---- datasets


@pytest.mark.parametrize("call", ["create dataset", "upload", "validate upload", "get dataset"])
@pytest.mark.parametrize("fault", LOST)
async def test_an_upload_whose_answer_is_lost_ends_in_one_dataset(
    fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path, call: str, fault: Fault
) -> None:
    fake.goes_wrong(call, fault)
    with pytest.raises(UpstreamUnknown):
        await ready(upstream, tmp_path)
    found = await upstream.find_file(FILE, len(CONTENT)) or await ready(upstream, tmp_path)
    assert (found, list(fake.datasets)) == (named(FILE), [named(FILE)])
    assert fake.datasets[found].content == CONTENT


async def test_a_dataset_that_never_becomes_ready_shows_why_the_job_waits(
    bench: Bench, fake: FakeFireworks, upstream: FireworksUpstream
) -> None:
    fake.never_ready = True
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
    assert "still processing the file" in waiting.reason
    assert sum(asked.partition("?")[0].endswith(":upload") for asked in fake.asked) == 1
    assert fake.all_jobs() == []
    fake.never_ready = False
    fake.tunable.add(MODEL)
    await copy_step.copy_to_upstream(at.ctx, "openai", sha256)
    assert (await at.until_tracked(job_id)).job.upstream_job_id


async def test_bad_data_is_refused_in_the_upstreams_words(
    fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path
) -> None:
    fake.bad_data = "Line 3 has no messages"
    for _ in range(2):
        with pytest.raises(UpstreamRefused, match="Line 3 has no messages"):
            await ready(upstream, tmp_path)
    with pytest.raises(UpstreamRefused, match="Line 3 has no messages"):
        await upstream.find_file(FILE, len(CONTENT))


async def test_a_large_file_goes_to_the_signed_address_with_its_two_headers_and_without_our_key(
    fake: FakeFireworks, tmp_path: Path
) -> None:
    upstream = FireworksUpstream("fw", settings(fake.url, fake.key), account_id=fake.account, whole_bytes=10)
    assert await ready(upstream, tmp_path) == named(FILE)
    assert fake.datasets[named(FILE)].content == CONTENT
    assert "authorization" not in fake.headers["put"]
    fake.datasets.clear()
    fake.goes_wrong("put", web.Response(status=400, text="<Error><Code>ExpiredToken</Code></Error>"))
    with pytest.raises(UpstreamUnknown, match="answered HTTP 400") as expired:
        await ready(upstream, tmp_path)
    assert "Signature" not in expired.value.message
    assert await upstream.find_file(FILE, len(CONTENT)) is None
    assert await ready(upstream, tmp_path) == named(FILE)  # by a new address
    await upstream.close()


@pytest.mark.parametrize("status", [403, 404])
async def test_a_wrong_account_holds_the_upstream_and_fails_no_job(
    bench: Bench, fake: FakeFireworks, status: int
) -> None:
    fake.wrong_account = status
    upstream = FireworksUpstream("openai", settings(fake.url, fake.key), account_id="another")
    at = with_upstream(bench, upstream)
    job_id = await at.accept()
    await lifecycle.advance(at.ctx, job_id)
    await copy_step.copy_to_upstream(at.ctx, "openai", (await at.read(job_id)).job.training.sha256)
    held = await at.ctx.store.upstreams.held("openai")
    assert held is not None
    assert held.code == "wrong_account"
    assert "the account 'another'" in held.reason
    assert (await at.read(job_id)).job.stage is Stage.UPLOADING
    with pytest.raises(UpstreamUnauthorized):
        await upstream.create(spec(TUNABLE), training="d", validation=None, tag=TAG)
    await upstream.close()


@pytest.mark.parametrize("status", [403, 404])
async def test_in_a_wrong_account_a_job_that_is_not_found_is_not_absent(fake: FakeFireworks, status: int) -> None:
    fake.wrong_account = status
    upstream = FireworksUpstream("fw", settings(fake.url, fake.key), account_id="another")
    with pytest.raises(UpstreamError):
        await upstream.find(spec(TUNABLE), training="d", tag=TAG, since=0)
    await upstream.close()


async def test_no_connection_means_that_nothing_was_sent() -> None:
    upstream = FireworksUpstream("fw", settings("http://127.0.0.1:9", "k"), account_id="acme")
    with pytest.raises(UpstreamUnreachable):
        await upstream.create(spec(TUNABLE), training="d", validation=None, tag=TAG)
    await upstream.close()


async def test_a_file_that_others_get_in_parts_goes_in_one_piece(
    bench: Bench, fake: FakeFireworks, upstream: FireworksUpstream
) -> None:
    at = with_upstream(bench, upstream)
    file = (await at.file(CONTENT)).model_copy(update={"bytes": copy_step.WHOLE_BYTES + 1})
    await lifecycle.advance(at.ctx, await at.accept(file))
    await copy_step.copy_to_upstream(at.ctx, "openai", file.sha256)
    record = await at.ctx.store.copies.read("openai", file.sha256)
    assert record is not None
    assert (record.copy.state, [one.content for one in fake.datasets.values()]) == ("ready", [CONTENT])


# ---- jobs


async def test_a_dpo_job_goes_its_own_way(fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path) -> None:
    dataset = await ready(upstream, tmp_path)
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2, "batch_size": "auto"}}}
    job = await upstream.create(spec(TUNABLE, method=method), training=dataset, validation=None, tag=TAG)
    assert job.id == f"{DPO}:{named(TAG)}"
    made = fake.jobs[DPO][named(TAG)]
    assert made["lossConfig"] == {"method": "DPO", "dpo": {"beta": 0.2}}
    assert made["trainingConfig"] == {"baseModel": TUNABLE, "epochs": 2}
    assert (await upstream.retrieve(job.id)).id == job.id
    assert (await upstream.cancel(job.id)).status == "cancelled"
    assert (await upstream.resume(job.id)).status == "running"
    assert [
        one.id for one in await upstream.find(spec(TUNABLE, method=method), training=dataset, tag=TAG, since=0)
    ] == [job.id]


async def test_pages_show_every_job_once_also_to_an_instance_that_goes_on(
    fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path
) -> None:
    dataset = await ready(upstream, tmp_path)
    dpo = {"type": "dpo"}
    for number in range(230):
        method = dpo if number % 2 else None
        await upstream.create(spec(TUNABLE, method=method), training=dataset, validation=None, tag=f"t/{number}")
    seen: list[str] = []
    after, more = None, True
    while more:
        jobs, more = await upstream.page(after)
        assert 0 < len(jobs) <= 100
        seen += [job.id for job in jobs]
        after = jobs[-1].id
    assert (len(seen), len(set(seen))) == (230, 230)
    other = FireworksUpstream("fw", settings(fake.url, fake.key), account_id=fake.account)
    jobs, _ = await other.page(seen[114])
    assert [job.id for job in jobs] == seen[115:215]
    assert await other.page("gone") == ([], False)
    await other.close()


async def test_what_fireworks_lacks_is_said_in_words(upstream: FireworksUpstream) -> None:
    with pytest.raises(UpstreamUnsupported, match="no pause for jobs"):
        await upstream.pause("x")
    with pytest.raises(UpstreamUnsupported, match="no graders"):
        await upstream.grade("run", {})
    with pytest.raises(UpstreamUnsupported) as parts:
        await upstream.begin_parts(FILE, 1)
    assert parts.value.status == 501  # the story then sends the file whole


@pytest.mark.parametrize("job_id", ["../../users", "a/b", "", "datasets:x", "x?y=1", ".."])
async def test_an_id_from_outside_is_no_path(fake: FakeFireworks, upstream: FireworksUpstream, job_id: str) -> None:
    for call in (upstream.retrieve, upstream.cancel, upstream.resume):
        with pytest.raises(UpstreamRefused):
            await call(job_id)
    with pytest.raises(UpstreamRefused):
        await upstream.delete_file(job_id)
    assert fake.asked == []


async def test_models_and_deleting(fake: FakeFireworks, upstream: FireworksUpstream, tmp_path: Path) -> None:
    (model,) = await upstream.models()
    assert (model["id"], model["capabilities"]) == (TUNABLE, {"fine_tune": True})
    await upstream.delete_file(await ready(upstream, tmp_path))
    assert fake.datasets == {}
    fake.never_ready = True
    with pytest.raises(UpstreamNotReady):
        await ready(upstream, tmp_path)
