"""What an upstream answers that no simulated one would: rows that cannot be read, a file that was joined after all,
a refusal that quotes our key."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.strange_upstream import StrangeUpstream, refusal, strange_upstream
from tests.integration.conftest import Bench
from tunehook.context import Context
from tunehook.errors import UpstreamUnknown
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.jobs.copy_step import WHOLE_BYTES
from tunehook.model.file import Copy
from tunehook.model.job import JobSpec, Stage
from tunehook.model.member import copy_member
from tunehook.openai_format import jobs
from tunehook.store.copies import CopyRecord

STRANGE: list[dict[str, Any]] = [
    {"id": "ftjob-a", "status": None},
    {"id": None, "status": "running"},
    {"id": "ftjob-b", "status": "running", "seed": "five"},
    {"id": "ftjob-c", "status": "succeeded", "finished_at": 1795340602.5},
    {"id": "ftjob-d", "status": "running", "seed": 0.5},
    {},
]
TAG = "tunehook/ftjob-ours"
SPEC = JobSpec(model="m", training_file="file-1", seed=1)


def page(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(rows), "has_more": False}


@pytest.fixture
async def strange() -> AsyncIterator[StrangeUpstream]:
    async with strange_upstream() as running:
        yield running


def at(strange: StrangeUpstream, bench: Bench) -> Context:
    return replace(bench.ctx, upstreams={"openai": strange.upstream})


@pytest.mark.parametrize("row", STRANGE)
async def test_a_strange_job_in_the_organisation_hides_no_other(
    bench: Bench, strange: StrangeUpstream, row: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [await bench.accept() for _ in range(2)]  # a single one would be asked for by its id
    there = [(await bench.until_tracked(job_id)).job.seen for job_id in jobs]
    ended = [seen.model_dump() | {"status": "cancelled"} for seen in there if seen]
    strange.answers["GET /fine_tuning/jobs"] = page(row, *ended)
    await poller.poll(at(strange, bench), "openai")
    assert [(await bench.read(job_id)).job.status for job_id in jobs] == ["cancelled"] * 2
    assert "is left out" in caplog.text


@pytest.mark.parametrize("tokens", [10**20, -1, 1e300])
async def test_a_count_of_tokens_that_no_job_has_holds_up_no_end(
    bench: Bench, strange: StrangeUpstream, tokens: float
) -> None:
    """Its price was no whole number in Redis: the end was refused each time, and the job parked."""
    job_id = await bench.accept()
    seen = (await bench.until_tracked(job_id)).job.seen
    assert seen is not None
    ended = seen.model_dump() | {"status": "succeeded", "fine_tuned_model": "ft:m", "trained_tokens": tokens}
    strange.answers["GET /fine_tuning/jobs"] = page(ended)
    strange.answers[f"GET /fine_tuning/jobs/{seen.id}"] = ended
    await poller.poll(at(strange, bench), "openai")
    job = (await bench.read(job_id)).job
    assert (job.status, job.cost) == ("succeeded", None)


@pytest.mark.parametrize("row", STRANGE)
async def test_a_strange_job_leaves_no_create_undecided_unless_it_bears_our_mark(
    strange: StrangeUpstream, row: dict[str, Any]
) -> None:
    found = {"id": "ftjob-there", "status": "running", "metadata": {"tunehook": TAG}}
    strange.answers["GET /fine_tuning/jobs"] = page(row, found)
    jobs = await strange.upstream.find(SPEC, training="file-there", tag=TAG, since=0)
    assert [job.id for job in jobs] == ["ftjob-there"]
    marked = {**(row.get("metadata") or {}), "tunehook": TAG}
    strange.answers["GET /fine_tuning/jobs"] = page(row | {"metadata": marked}, found)
    with pytest.raises(UpstreamUnknown):  # it is ours, and nobody can say what it is
        await strange.upstream.find(SPEC, training="file-there", tag=TAG, since=0)


async def test_a_list_whose_first_page_cannot_be_read_does_not_say_that_nothing_was_created(
    strange: StrangeUpstream,
) -> None:
    """What is behind it may be ours: created again, it would be paid twice."""
    strange.answers["GET /fine_tuning/jobs"] = page(*STRANGE) | {"has_more": True}
    with pytest.raises(UpstreamUnknown):
        await strange.upstream.find(SPEC, training="file-there", tag=TAG, since=0)
    strange.answers["GET /fine_tuning/jobs"] = page(*STRANGE)
    assert await strange.upstream.find(SPEC, training="file-there", tag=TAG, since=0) == []


async def all_parts_sent(bench: Bench) -> Copy:
    """A large file's copy whose last part was taken when its worker died."""
    file = (await bench.file()).model_copy(update={"bytes": WHOLE_BYTES + 1})
    job_id = await bench.accept(file)
    await lifecycle.advance(bench.ctx, job_id)
    store, member = bench.ctx.store, copy_member("openai", file.sha256)
    record = await store.copies.read("openai", file.sha256)
    assert record is not None
    sent = {"upload_id": "upload_there", "parts": ["part_1"], "bytes_sent": file.bytes}
    async with store.lease(member) as lease:
        copy = record.copy.model_copy(update=sent)
        await store.commit(CopyRecord(copy, record.revision).change(copy, lease))
    return copy


@pytest.mark.parametrize("joined", [True, False])
async def test_parts_that_were_joined_though_the_answer_was_lost_are_not_sent_again(
    bench: Bench, strange: StrangeUpstream, joined: bool
) -> None:
    copy = await all_parts_sent(bench)
    there = {"id": "file-there", "filename": copy.filename, "bytes": copy.bytes, "status": "processed"}
    strange.answers["GET /files"] = page(*([there] if joined else []))
    await copy_step.copy_to_upstream(at(strange, bench), "openai", copy.sha256)
    assert [path.partition("?")[0] for path in strange.asked] == ["POST /uploads/upload_there/complete", "GET /files"]
    record = await bench.ctx.store.copies.read("openai", copy.sha256)
    assert record is not None
    if joined:
        assert (record.copy.state, record.copy.upstream_file_id) == ("ready", "file-there")
    else:  # it is begun anew
        assert (record.copy.state, record.copy.upload_id, record.copy.attempts) == ("wanted", None, 1)


async def test_what_the_upstream_says_of_our_key_reaches_no_tenant(bench: Bench, strange: StrangeUpstream) -> None:
    """OpenAI's own words quote the beginning and the end of the key."""
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", (await bench.read(job_id)).job.training.sha256)

    async def _refuse(_: object) -> Any:
        return refusal(401, "Incorrect API key provided: sk-simul*****ated.", "invalid_api_key")

    strange.answers["POST /fine_tuning/jobs"] = _refuse
    await lifecycle.advance(at(strange, bench), job_id)
    job = (await bench.read(job_id)).job
    assert job.stage is Stage.WAITING
    entries, _ = await bench.ctx.store.job_log.page(job_id, after=None, limit=100)
    held = await bench.ctx.store.upstreams.held("openai")
    shown = [job.model_dump_json(), *(entry.message.message for entry in entries), str(held)]
    assert "invalid_api_key" in shown[0]
    assert "sk-simul" not in " ".join(shown)


@pytest.mark.parametrize("status", [400, 429])
async def test_what_the_upstream_says_of_a_create_names_our_file(
    bench: Bench, strange: StrangeUpstream, status: int
) -> None:
    """It has no job yet that would tell whose file that is."""
    job_id = await bench.accept()
    await lifecycle.advance(bench.ctx, job_id)
    training = (await bench.read(job_id)).job.training
    await copy_step.copy_to_upstream(bench.ctx, "openai", training.sha256)
    record = await bench.ctx.store.copies.read("openai", training.sha256)
    assert record is not None
    theirs = record.copy.upstream_file_id
    assert theirs

    async def _refuse(_: object) -> Any:
        return refusal(status, f"Too many jobs are running on {theirs}.")

    strange.answers |= {"POST /fine_tuning/jobs": _refuse, "GET /fine_tuning/jobs": page(), f"GET /files/{theirs}": {}}
    there = {"id": theirs, "filename": record.copy.filename, "bytes": record.copy.bytes, "status": "processed"}
    strange.answers["GET /files"] = page(there)
    await lifecycle.advance(at(strange, bench), job_id)
    read = await bench.read(job_id)
    assert read.job.stage is (Stage.WAITING if status == 429 else Stage.SETTLED)
    shown = jobs.job_object(read.job, revision=1)
    said = shown["tunehook"]["waiting"]["reason"] if status == 429 else shown["error"]["message"]
    assert said == f"Too many jobs are running on {training.id}."
    entries, _ = await bench.ctx.store.job_log.page(job_id, after=None, limit=100)
    assert theirs not in " ".join(entry.message.message for entry in entries)
