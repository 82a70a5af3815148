"""Files above 16 MB: answered as `uploaded`, checked by a step of the worker, and a job on one waits for the result."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.stored import Sent, data_dir, path_of
from tests.integration.conftest import MODEL, Bench
from tests.unit.dataset.lines import good, jsonl
from tunehook.dataset.process import DatasetProcess
from tunehook.dataset.report import Report
from tunehook.errors import CostAboveLimit, FileNotChecked, FileNotFound, FileUnusable
from tunehook.files import CHECKED_AT_ONCE, ingest, uploads
from tunehook.files.place import MARK
from tunehook.jobs import commands, cost, lifecycle, submission
from tunehook.maintenance import retention
from tunehook.model.api_key import ApiKey
from tunehook.model.file import File
from tunehook.model.job import Stage
from tunehook.model.member import check_member, estimate_member, job_member
from tunehook.model.record import new_id
from tunehook.store.engine import keys
from tunehook.store.job_index import JobFilter

CALLER = ApiKey(id="k", project="p", name="n", secret_sha256="s", callback_secret="c", created_at=1)
LONG = "All about birds. " * 40_000


def padded(n: int) -> dict[str, Any]:
    """680 kB each, so that 26 of them are 17 MB, read and checked in a tenth of a second."""
    return {"messages": [*good(n)["messages"], {"role": "user", "content": LONG}, good(n)["messages"][-1]]}


GOOD = jsonl(*map(padded, range(26)))
BAD = GOOD + b"{oops\n"
FEW = jsonl(*({"messages": [*good(n)["messages"], {"role": "user", "content": LONG * 5}]} for n in range(6)))
FEW = FEW.replace(b'"role": "user", "content": "All', b'"role": "assistant", "content": "All')
REWARDED = jsonl(
    *({"messages": [{"role": "user", "content": f"{n} {LONG}"}], "answer": str(n)} for n in range(27)),
)


async def received(bench: Bench, content: bytes, project: str = "p") -> File:
    """As the API receives a file."""
    files = bench.ctx.files
    async with ingest.receiving(files.storage) as incoming:
        await incoming.write(content)
        file = await ingest.keep(files, incoming, project=project, filename="a.jsonl", seconds=None)
        await files.store.files.add(file)
    return file


async def submitted(bench: Bench, training: File, **more: Any) -> str:
    body = {"model": MODEL, "training_file": training.id, **more}
    return (await submission.submit(bench.ctx, CALLER, body, idempotency_key=None, sdk_retry=False)).job.id


async def check(bench: Bench, file: File) -> File:
    await ingest.check_stored(bench.ctx.files, file.id)
    return await bench.ctx.store.files.read(file.id, "p")


async def test_a_good_one_is_answered_first_and_processed_afterwards(bench: Bench) -> None:
    file = await received(bench, GOOD)
    assert file.bytes > CHECKED_AT_ONCE
    assert (file.status, file.dataset) == ("uploaded", None)
    assert await bench.due_in(check_member(file.id)) <= 0  # type: ignore[operator]
    found = await check(bench, file)
    assert found.status == "processed"
    assert found.dataset is not None
    assert (found.dataset.examples, found.dataset.errors) == (26, 0)
    assert await bench.due_in(check_member(file.id)) is None
    assert await bench.ctx.files.storage.reports.read(file.id) is not None


async def test_a_job_is_accepted_at_once_and_nothing_leaves_before_the_check(bench: Bench) -> None:
    file = await received(bench, GOOD)
    job_id = await submitted(bench, file)
    await lifecycle.advance(bench.ctx, job_id)
    await cost.estimate_accepted(bench.ctx, job_id)
    job = (await bench.read(job_id)).job
    assert (job.stage, job.estimate) == (Stage.ACCEPTED, None)
    assert await bench.ctx.store.copies.read("openai", file.sha256) is None, "the bytes are wanted at the upstream"
    assert (await bench.due_in(job_member(job_id)) or 0) > 30
    assert (await bench.due_in(estimate_member(job_id)) or 0) > 10

    await check(bench, file)
    for member in (job_member(job_id), estimate_member(job_id)):
        assert await bench.due_in(member) <= 0, member  # type: ignore[operator]
    await cost.estimate_accepted(bench.ctx, job_id)
    assert (await bench.until_tracked(job_id)).job.estimate is not None


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (BAD, "invalid_training_file", "Line 27: Expecting property name"),
        (FEW, "invalid_n_examples", "has 6 example(s), but must have at least 10 examples"),
        (REWARDED, "invalid_training_file", "it holds reinforcement examples, but supervised training"),
    ],
    ids=["bad", "few", "misfit"],
)
async def test_a_job_on_one_that_turns_out_unfit_fails_as_at_openai_and_nothing_is_paid(
    bench: Bench, content: bytes, code: str, words: str
) -> None:
    file = await received(bench, content)
    job_id = await submitted(bench, file)
    await lifecycle.advance(bench.ctx, job_id)
    await check(bench, file)
    await lifecycle.advance(bench.ctx, job_id)
    await cost.estimate_accepted(bench.ctx, job_id)
    job = (await bench.read(job_id)).job
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.param) == (code, "training_file")
    assert job.error.message.startswith("The job failed due to an invalid training file. ")
    assert words in job.error.message
    assert await bench.simulator.jobs() == []
    assert await bench.ctx.store.copies.read("openai", file.sha256) is None
    for member in (job_member(job_id), estimate_member(job_id)):
        assert await bench.due_in(member) is None, member
    await bench.ctx.store.files.delete(file.id, "p")  # no job holds it any more


async def test_its_end_is_published_like_any_other(bench: Bench) -> None:
    file = await received(bench, BAD)
    job_id = await submitted(bench, file, callback_url="https://example.com/hook")
    await check(bench, file)
    await lifecycle.advance(bench.ctx, job_id)
    deliveries, _ = await bench.ctx.store.deliveries.page_of_job(job_id, after=None, limit=100)
    assert [delivery.event_type for delivery in deliveries] == ["fine_tuning.job.failed"]


async def test_a_misfit_with_the_method_is_found_after_the_check(bench: Bench) -> None:
    """Chat examples under DPO; and a member that the grader reads and one line lacks."""
    chat = await received(bench, GOOD)
    dpo = await submitted(bench, chat, method={"type": "dpo"})
    grader = {
        "type": "string_check",
        "name": "g",
        "input": "{{sample.output_text}}",
        "reference": "{{item.truth}}",
        "operation": "eq",
    }
    rewarded = await received(bench, REWARDED)
    reinforcement = await submitted(
        bench,
        rewarded,
        model="o4-mini-2025-04-16",
        validation_file=rewarded.id,
        method={"type": "reinforcement", "reinforcement": {"grader": grader}},
    )
    for file in (chat, rewarded):
        assert (await check(bench, file)).status == "processed"
    for job_id, words in ((dpo, "dpo training"), (reinforcement, "truth")):
        await lifecycle.advance(bench.ctx, job_id)
        job = (await bench.read(job_id)).job
        assert job.status == "failed", job
        assert job.error is not None
        assert job.error.code == "invalid_training_file"
        assert words in job.error.message
    assert await bench.simulator.jobs() == []


async def test_a_validation_file_is_waited_for_too(bench: Bench) -> None:
    training, good_one, bad_one = await bench.file(), await received(bench, GOOD), await received(bench, BAD)
    goes_on = await submitted(bench, training, validation_file=good_one.id)
    fails = await submitted(bench, training, validation_file=bad_one.id)
    for job_id in (goes_on, fails):
        await lifecycle.advance(bench.ctx, job_id)
        assert await bench.stage(job_id) is Stage.ACCEPTED
    for file in (good_one, bad_one):
        await check(bench, file)
    for job_id in (goes_on, fails):
        assert await bench.due_in(job_member(job_id)) <= 0  # type: ignore[operator]
    await bench.until_tracked(goes_on)
    await lifecycle.advance(bench.ctx, fails)
    job = (await bench.read(fails)).job
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("invalid_validation_file", "validation_file")
    assert len(await bench.simulator.jobs()) == 1


async def test_a_job_that_waits_can_be_cancelled_and_its_file_deleted(bench: Bench) -> None:
    file = await received(bench, GOOD)
    job_id = await submitted(bench, file)
    await commands.cancel(bench.ctx, job_id, "p")
    await bench.ctx.store.files.delete(file.id, "p")
    await bench.ctx.files.storage.remove(file.id)
    await cost.estimate_accepted(bench.ctx, job_id)
    await ingest.check_stored(bench.ctx.files, file.id)
    for member in (check_member(file.id), estimate_member(job_id), job_member(job_id)):
        assert await bench.due_in(member) is None, member


async def nothing_offered() -> dict[str, list[dict[str, Any]]]:
    return {}


async def test_an_estimate_and_a_limit_of_cost_wait_for_the_check(bench: Bench) -> None:
    body = {"model": MODEL, "training_file": (await received(bench, GOOD)).id}
    estimate = asyncio.create_task(submission.estimate(bench.ctx, CALLER, body, nothing_offered))
    limited = asyncio.create_task(submit_limited(bench, body, 0.000001))
    await asyncio.sleep(0.3)
    assert not estimate.done()
    assert not limited.done()
    await ingest.check_stored(bench.ctx.files, body["training_file"])
    assert (await estimate).examples == 26
    with pytest.raises(CostAboveLimit):
        await limited


async def submit_limited(bench: Bench, body: dict[str, Any], usd: float) -> object:
    limited = {**body, "tunehook": {"max_cost_usd": usd}}
    return await submission.submit(bench.ctx, CALLER, limited, idempotency_key=None, sdk_retry=False)


async def test_what_waits_for_the_check_hears_of_a_bad_file_or_gives_up(bench: Bench) -> None:
    file = await received(bench, BAD)
    body = {"model": MODEL, "training_file": file.id}
    waiting = asyncio.create_task(submit_limited(bench, body, 100.0))
    await asyncio.sleep(0)
    await check(bench, file)
    with pytest.raises(FileUnusable, match="Line 27"):
        await waiting
    bench = replace(bench, ctx=replace(bench.ctx, files=replace(bench.ctx.files, wait_seconds=0.1)))
    training, validation = await bench.file(), await received(bench, GOOD)
    with pytest.raises(FileNotChecked) as caught:
        await submit_limited(bench, {**body, "training_file": training.id, "validation_file": validation.id}, 100.0)
    assert caught.value.param == "validation_file"
    page, _ = await bench.ctx.store.jobs.page("p", after=None, limit=20, wanted=JobFilter())
    assert page == []


async def test_an_upload_in_parts_is_checked_afterwards_too(bench: Bench) -> None:
    files = bench.ctx.files
    upload = await uploads.begin(files, "p", filename="a", purpose="fine-tune", size=len(BAD), expires_after=None)
    parts = []
    for half in (BAD[: len(BAD) // 2], BAD[len(BAD) // 2 :]):
        incoming = files.storage.parts(upload.id).receive(new_id("part_"))
        await incoming.open()
        await incoming.write(half)
        parts.append(await uploads.keep_part(files, upload, incoming))
        await incoming.close()
    _, file = await uploads.complete(files, upload.id, "p", parts, None)
    assert file.status == "uploaded"
    found = await check(bench, file)
    assert found.status == "error"
    assert (found.status_details or "").startswith("Line 27: Expecting property name")
    _, again = await uploads.complete(files, upload.id, "p", parts, None)
    assert again == found, "a repeated call shows the file as it is now"


# ---- what may go wrong


async def test_a_check_whose_process_is_killed_is_taken_up_again(bench: Bench) -> None:
    file = await received(bench, GOOD)
    await bench.claim()
    checker = bench.ctx.files.checker
    assert isinstance(checker, DatasetProcess)
    await checker.ask({"do": "count", "format": "chat", "model": MODEL}, Sent.of(Path(os.devnull)).chunks())
    assert checker._process is not None
    os.kill(checker._process.pid, signal.SIGSTOP)
    checking = asyncio.create_task(ingest.check_stored(bench.ctx.files, file.id))
    while not checker._asking:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    os.kill(checker._process.pid, signal.SIGKILL)
    await checking
    assert (await bench.ctx.store.files.read(file.id, "p")).status == "uploaded"
    assert 0 < (await bench.due_in(check_member(file.id)) or 0) <= 20
    assert (await check(bench, file)).status == "processed"


async def test_a_count_whose_process_is_killed_is_taken_up_again(bench: Bench) -> None:
    job_id = await bench.accept(await counted_file(bench))
    await bench.claim()
    counter = bench.ctx.files.counter
    await counter.close()
    await cost.estimate_accepted(bench.ctx, job_id)
    assert (await bench.read(job_id)).job.estimate is None
    assert 0 < (await bench.due_in(estimate_member(job_id)) or 0) <= 20
    again = replace(bench.ctx, files=type(bench.ctx.files)(bench.ctx.store, bench.ctx.files.storage))
    await cost.estimate_accepted(again, job_id)
    await again.files.close()
    assert (await bench.read(job_id)).job.estimate is not None


async def counted_file(bench: Bench) -> File:
    return await received(bench, jsonl(*(good(n) for n in range(12))))


async def test_two_steps_at_once_check_it_once(bench: Bench) -> None:
    file = await received(bench, GOOD)
    await asyncio.gather(*(ingest.check_stored(bench.ctx.files, file.id) for _ in range(2)))
    record = await bench.ctx.store.files.read_any(file.id)
    assert record is not None
    assert (record.file.status, record.revision) == ("processed", 2)
    assert await bench.due_in(check_member(file.id)) is None


async def during_the_check(bench: Bench, file: File, meanwhile: Callable[[], Any]) -> None:
    """Runs a check, and something between its reading and its commit."""
    save = bench.ctx.files.storage.reports.save

    async def _save(file_id: str, report: Report) -> None:
        await meanwhile()
        await save(file_id, report)

    bench.ctx.files.storage.reports.save = _save  # type: ignore[method-assign]
    await ingest.check_stored(bench.ctx.files, file.id)
    bench.ctx.files.storage.reports.save = save  # type: ignore[method-assign]


async def test_a_file_that_is_deleted_during_its_check_leaves_nothing(bench: Bench) -> None:
    file = await received(bench, GOOD)

    async def _delete() -> None:
        await bench.ctx.store.files.delete(file.id, "p")
        await bench.ctx.files.storage.remove(file.id)
        await bench.ctx.store.files.left(file.id)

    await during_the_check(bench, file, _delete)
    assert await bench.due_in(check_member(file.id)) <= 0  # type: ignore[operator]
    await ingest.check_stored(bench.ctx.files, file.id)
    assert await bench.due_in(check_member(file.id)) is None
    with pytest.raises(FileNotFound):
        await bench.ctx.store.files.read(file.id, "p")
    root = data_dir(bench.ctx.files.storage)
    left = await asyncio.to_thread(lambda: [path.name for path in root.rglob("*") if path.is_file()])
    assert left == [MARK]


async def test_a_check_that_loses_its_lease_writes_nothing_and_another_does(bench: Bench) -> None:
    file = await received(bench, GOOD)

    async def _steal() -> None:
        await bench.ctx.store.redis.set(keys.lease(check_member(file.id)), "another", px=100)

    await during_the_check(bench, file, _steal)
    assert (await bench.ctx.store.files.read(file.id, "p")).status == "uploaded"
    await asyncio.sleep(0.15)
    assert (await check(bench, file)).status == "processed"


async def test_a_record_that_changed_during_the_check_is_checked_again(bench: Bench) -> None:
    file = await received(bench, GOOD)

    async def _change() -> None:
        await bench.ctx.store.files.replace(file.model_copy(update={"filename": "b.jsonl"}))

    await during_the_check(bench, file, _change)
    assert await bench.due_in(check_member(file.id)) <= 0  # type: ignore[operator]
    found = await check(bench, file)
    assert (found.status, found.filename) == ("processed", "b.jsonl")


async def test_a_record_of_a_newer_version_is_left_to_a_newer_worker(bench: Bench) -> None:
    file = await received(bench, GOOD)
    await bench.ctx.store.redis.hset(keys.file(file.id), "v", "99")
    await ingest.check_stored(bench.ctx.files, file.id)
    assert 3 < (await bench.due_in(check_member(file.id)) or 0) <= 5
    assert json.loads(await bench.ctx.store.redis.hget(keys.file(file.id), "doc"))["status"] == "uploaded"


async def test_a_file_whose_bytes_are_lost_has_an_error_and_its_jobs_fail(bench: Bench) -> None:
    file = await received(bench, GOOD)
    job_id = await submitted(bench, file)
    await asyncio.to_thread(path_of(bench.ctx.files.storage, file.id).unlink)
    found = await check(bench, file)
    assert (found.status, found.status_details) == ("error", ingest.GONE)
    await lifecycle.advance(bench.ctx, job_id)
    await cost.estimate_accepted(bench.ctx, job_id)
    job = (await bench.read(job_id)).job
    assert job.error is not None
    assert (job.status, job.error.code) == ("failed", "invalid_training_file")
    assert "no longer kept here" in job.error.message
    assert await bench.due_in(estimate_member(job_id)) is None


async def test_retention_removes_one_that_no_job_needs_and_its_check_ends(bench: Bench) -> None:
    held, file = await received(bench, BAD), await received(bench, GOOD)
    await submitted(bench, held)
    await retention.sweep(replace(bench.ctx, keep=replace(bench.ctx.keep, datasets=0.0)))
    await ingest.check_stored(bench.ctx.files, file.id)
    assert await bench.due_in(check_member(file.id)) is None
    assert not await bench.ctx.files.storage.exists(file.id)
    assert (await check(bench, held)).status == "error"
