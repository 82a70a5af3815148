"""Uploads that do not get through: an upstream that knows no parts, one that fails on and on, and what the jobs say."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.stored import path_of
from tests.fakes.strange_upstream import Answer, StrangeUpstream, refusal, strange_upstream
from tests.integration.conftest import Bench
from tunehook.context import Context
from tunehook.jobs import copy_step, lifecycle
from tunehook.jobs.copy_step import WHOLE_BYTES
from tunehook.jobs.copy_transfer import PART_BYTES
from tunehook.model.file import Copy, File
from tunehook.model.job import Job, Stage
from tunehook.model.member import copy_member
from tunehook.store.copies import CopyRecord


@pytest.fixture
async def strange() -> AsyncIterator[StrangeUpstream]:
    async with strange_upstream() as running:
        yield running


class Large:
    """A job on a file of two parts more than what is sent whole, and an upstream that does as it is told."""

    def __init__(self, bench: Bench, strange: StrangeUpstream) -> None:
        self.bench, self.strange = bench, strange
        self.ctx: Context = replace(bench.ctx, upstreams={"openai": strange.upstream})

    async def accept(self, size: int = WHOLE_BYTES + 2 * PART_BYTES) -> None:
        file = await self.bench.file()
        self.file: File = file.model_copy(update={"bytes": size})
        os.truncate(path_of(self.ctx.files.storage, file.id), size)  # the rest takes no room on the disk
        self.job_id = await self.bench.accept(self.file)
        await lifecycle.advance(self.ctx, self.job_id)

    async def step(self) -> None:
        await copy_step.copy_to_upstream(self.ctx, "openai", self.file.sha256)

    @property
    def member(self) -> str:
        return copy_member("openai", self.file.sha256)

    async def record(self) -> CopyRecord:
        record = await self.ctx.store.copies.read("openai", self.file.sha256)
        assert record is not None
        return record

    async def copy(self) -> Copy:
        return (await self.record()).copy

    async def change(self, **changes: object) -> None:
        record = await self.record()
        async with self.ctx.store.lease(self.member) as lease:
            await self.ctx.store.commit(record.change(record.copy.model_copy(update=changes), lease))

    async def job(self) -> Job:
        """After the turn that it is due for."""
        assert f"job:{self.job_id}" in await self.bench.claim(), "nobody has woken it"
        await lifecycle.advance(self.ctx, self.job_id)
        return (await self.bench.read(self.job_id)).job

    async def due_in(self) -> float:
        due_in = await self.bench.due_in(self.member)
        assert due_in is not None
        return due_in

    def asked(self) -> list[str]:
        return [asked.partition("?")[0] for asked in self.strange.asked]


@pytest.fixture
def large(bench: Bench, strange: StrangeUpstream) -> Large:
    return Large(bench, strange)


def says(status: int, message: str = "Not now.", **headers: str) -> Answer:
    async def _answer(_: web.Request) -> web.StreamResponse:
        answer = refusal(status, message)
        answer.headers.update(headers)
        return answer

    return _answer


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_upstream_that_knows_no_parts_gets_a_large_file_whole(large: Large, status: int) -> None:
    await large.accept()
    large.strange.answers |= {"POST /uploads": says(status), "POST /files": {"object": "file", "id": "file-there"}}
    await large.step()
    assert large.asked() == ["POST /uploads", "POST /files"]
    assert (await large.copy()).upstream_file_id == "file-there"
    assert (await large.bench.read(large.job_id)).job.stage is Stage.UPLOADING
    await large.bench.claim()


async def test_sent_whole_for_want_of_parts_it_is_looked_for_before_it_is_sent_again(large: Large) -> None:
    await large.accept(WHOLE_BYTES + 1)
    large.strange.answers["POST /files"] = says(500)
    await large.step()
    copy = await large.copy()
    there = {"id": "file-there", "filename": copy.filename, "bytes": copy.bytes, "status": "processed"}
    large.strange.answers["GET /files"] = {"object": "list", "data": [there], "has_more": False}
    await large.step()
    assert large.asked() == ["POST /uploads", "POST /files", "POST /uploads", "GET /files"]
    assert (await large.copy()).upstream_file_id == "file-there"


async def test_a_refusal_of_parts_for_a_reason_is_one(large: Large) -> None:
    await large.accept(WHOLE_BYTES + 1)
    large.strange.answers["POST /uploads"] = says(403, "Your project may not upload files.")
    for _ in range(4):
        await large.step()
    copy = await large.copy()
    assert (copy.state, copy.error and copy.error.message) == ("refused", "Your project may not upload files.")
    assert "POST /files" not in large.asked()


@pytest.mark.parametrize(("status", "code"), [(500, "upstream_no_answer"), (429, "rate_limit_exceeded")])
async def test_an_upload_that_cannot_even_begin_is_tried_ever_later_and_the_job_says_why(
    large: Large, status: int, code: str
) -> None:
    await large.accept(WHOLE_BYTES + 1)
    large.strange.answers["POST /uploads"] = says(status)
    pauses = []
    for _ in range(2):
        await large.step()
        pauses.append(await large.due_in())
    assert (await large.copy()).waiting is None, "it was a hiccup, for all we know"
    await large.step()
    job = await large.job()
    assert (job.stage, job.waiting and job.waiting.resume) == (Stage.WAITING, Stage.UPLOADING)
    assert job.waiting
    assert job.waiting.code == code
    assert "Not now." in job.waiting.reason
    for _ in range(9):
        await large.step()
        pauses.append(await large.due_in())
    for pause, most in zip(pauses, [5, 10, 40, 80, 160, *[300] * 6], strict=True):
        assert most - 2 < pause <= most
    again = await large.job()
    assert again.waiting
    assert (again.waiting.code, again.waiting.since) == (code, job.waiting.since)
    assert again.waiting.retry_at
    assert again.waiting.retry_at > job.waiting.since + 200


async def test_what_an_upstream_says_of_its_own_pause_is_said_at_once_if_it_is_long(large: Large) -> None:
    await large.accept(WHOLE_BYTES + 1)
    large.strange.answers["POST /uploads"] = says(429, **{"retry-after": "600"})
    await large.step()
    assert (await large.job()).stage is Stage.WAITING
    assert 590 < await large.due_in() <= 600


async def test_a_part_that_arrives_ends_the_waiting(large: Large) -> None:
    arrived = 0

    async def _take(_: web.Request) -> web.StreamResponse:
        nonlocal arrived
        arrived += 1
        return web.json_response({"id": f"part_{arrived}"}) if arrived == 1 else refusal(500, "Not now.")

    await large.accept()
    large.strange.answers |= {"POST /uploads": {"id": "upload_1"}, "POST /uploads/upload_1/parts": says(500)}
    for _ in range(4):
        await large.step()
    assert (await large.copy()).failures == 4
    assert (await large.job()).stage is Stage.WAITING
    large.strange.answers["POST /uploads/upload_1/parts"] = _take
    await large.step()
    copy = await large.copy()
    assert (copy.parts, copy.failures, copy.waiting) == (["part_1"], 1, None)
    assert 3 < await large.due_in() <= 5
    job = await large.job()
    assert (job.stage, job.waiting) == (Stage.UPLOADING, None)


async def test_parts_that_cannot_be_joined_are_not_joined_every_five_seconds(large: Large) -> None:
    """Beginning anew is counted apart from failures: each part that arrives ends those."""
    await large.accept(WHOLE_BYTES + 1)
    sent: dict[str, Any] = {"upload_id": "upload_1", "parts": ["part_1"], "bytes_sent": large.file.bytes}
    await large.change(**sent)
    large.strange.answers["POST /uploads/upload_1/complete"] = says(500)
    for _ in range(5):
        await large.step()
    assert 75 < await large.due_in() <= 80
    assert (await large.job()).stage is Stage.WAITING


@pytest.mark.parametrize("size", [WHOLE_BYTES + 1, 1000])
async def test_a_count_that_has_grown_for_days_is_no_overflow(large: Large, size: int) -> None:
    await large.accept(size)
    await large.change(attempts=2000, failures=2000)
    large.strange.answers |= {"POST /uploads": says(500), "GET /files": says(500)}
    await large.step()
    assert 290 < await large.due_in() <= 300


async def test_a_file_that_is_shorter_than_its_record_says_ends_its_job_instead_of_sending_empty_parts(
    large: Large,
) -> None:
    await large.accept()
    os.truncate(path_of(large.ctx.files.storage, large.file.id), PART_BYTES)
    large.strange.answers |= {
        "POST /uploads": {"object": "upload", "id": "upload-there"},
        "POST /uploads/upload-there/parts": {"object": "upload.part", "id": "part-there"},
    }
    await large.step()
    assert large.asked() == ["POST /uploads", "POST /uploads/upload-there/parts"]
    error = (await large.copy()).error
    assert error is not None
    assert error.code == "file_missing"
