"""The files of an imported job are fetched from its upstream: whole or not at all, and the same bytes once."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.datasets import dataset
from tests.fakes.stored import data_dir, path_of
from tests.fakes.strange_upstream import Answer, StrangeUpstream, refusal, strange_upstream
from tests.integration.conftest import Bench
from tunehook.dataset import process
from tunehook.errors import DatasetUnread
from tunehook.jobs import dataset_fetch, imports
from tunehook.maintenance import retention
from tunehook.model.api_key import ApiKey
from tunehook.model.file import File
from tunehook.model.job import FileRef, Job
from tunehook.model.member import dataset_member
from tunehook.store.deletion import Ageing

CALLER = ApiKey(id="k", project="p", name="n", created_at=1, secret_sha256="", callback_secret="")
CONTENT = dataset()


class Away:
    """Jobs at an upstream whose answers a test chooses."""

    def __init__(self, bench: Bench, there: StrangeUpstream) -> None:
        self.bench, self.there = bench, there
        self.ctx = replace(bench.ctx, upstreams={"openai": there.upstream})

    def job(self, job_id: str, training: str = "file-1", **members: object) -> str:
        self.there.answers[f"GET /fine_tuning/jobs/{job_id}"] = {
            "id": job_id, "status": "succeeded", "model": "gpt-4.1-mini-2025-04-14", "training_file": training,
            "fine_tuned_model": f"ft:gpt-4.1-mini-2025-04-14:acme::{job_id[-4:]}", "created_at": 1, **members,
        }  # fmt: skip
        return job_id

    def file(self, file_id: str, content: bytes | Answer = CONTENT, **members: object) -> None:
        """A file there: its bytes, or a server's own way to answer for them."""
        size = len(content) if isinstance(content, bytes) else len(CONTENT)
        described = {"id": file_id, "filename": f"{file_id}.jsonl", "bytes": size, **members}
        self.there.answers[f"GET /files/{file_id}"] = described

        async def _plain(request: web.Request) -> web.Response:
            assert isinstance(content, bytes)
            return web.Response(body=content, content_type="application/octet-stream")

        self.there.answers[f"GET /files/{file_id}/content"] = _plain if isinstance(content, bytes) else content

    async def take_over(self, job_id: str, *, keep_dataset: bool = True) -> Job:
        record = await imports.import_job(
            self.ctx, CALLER, upstream="openai", upstream_job_id=job_id, callback_url=None, keep_dataset=keep_dataset
        )
        return record.job

    async def fetched(self, job: Job, *, most_bytes: int = 2**30, give_up_seconds: float = 3600) -> Job:
        await dataset_fetch.fetch(self.ctx, job.id, most_bytes=most_bytes, give_up_seconds=give_up_seconds)
        return (await self.ctx.store.jobs.read(job.id)).job

    async def files(self) -> list[File]:
        found, _ = await self.ctx.store.files.page("p", after=None, limit=100, purpose=None, ascending=True)
        return [file for file in found if file.purpose == "fine-tune"]

    async def on_disk(self) -> list[str]:
        """Every file in the storage: datasets by id, and what was half received."""
        directory = data_dir(self.ctx.files.storage) / "files"
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

    def downloads(self) -> int:
        return sum(asked.endswith("/content") for asked in self.there.asked)


@pytest.fixture
async def away(bench: Bench) -> AsyncIterator[Away]:
    async with strange_upstream() as there:
        yield Away(bench, there)


def state(job: Job) -> tuple[str, str | None]:
    assert job.dataset is not None
    return job.dataset.state, job.dataset.reason


async def test_both_files_become_files_of_ours(away: Away) -> None:
    away.file("file-1")
    away.file("file-2", dataset(3))
    job = await away.take_over(away.job("ftjob-1", validation_file="file-2"))
    assert state(job) == ("fetching", None)
    assert away.downloads() == 0  # not in the request
    assert await away.bench.due_in(dataset_member(job.id)) is not None
    job = await away.fetched(job)
    assert state(job) == ("kept", None)
    training, validation = await away.files()
    assert job.training.id == job.spec.training_file == training.id
    assert job.validation
    assert job.validation.id == job.spec.validation_file == validation.id
    assert (training.filename, training.status, training.bytes) == ("file-1.jsonl", "processed", len(CONTENT))
    assert path_of(away.ctx.files.storage, training.id).read_bytes() == CONTENT
    assert await away.ctx.files.storage.reports.read(training.id) is not None
    assert await away.bench.due_in(dataset_member(job.id)) is None


async def test_equal_bytes_and_repeated_imports_are_one_file(away: Away) -> None:
    for number in (1, 2):
        away.file(f"file-{number}")
    jobs = [
        await away.fetched(await away.take_over(away.job(f"ftjob-{number}", file)))
        for number, file in enumerate(["file-1", "file-1", "file-2"])
    ]
    again = await away.fetched(await away.take_over("ftjob-0"))
    [file] = await away.files()
    assert {job.training.id for job in (*jobs, again)} == {file.id}
    assert away.downloads() == 2  # of the same file there once
    assert await away.on_disk() == [file.id]


async def test_two_jobs_on_one_file_at_the_same_time_keep_it_once(away: Away) -> None:
    slow = asyncio.Event()

    async def _together(request: web.Request) -> web.Response:
        if away.downloads() == 2:
            slow.set()
        await slow.wait()
        return web.Response(body=CONTENT)

    away.file("file-1", _together)
    jobs = [await away.take_over(away.job(f"ftjob-{number}")) for number in (1, 2)]
    found = await asyncio.gather(*(away.fetched(job) for job in jobs))
    found = [await away.fetched(job) for job in found]
    [file] = await away.files()
    assert [(state(job)[0], job.training.id) for job in found] == [("kept", file.id)] * 2
    assert await away.on_disk() == [file.id]


async def test_a_job_that_was_imported_without_its_files_gets_them_later(away: Away) -> None:
    away.file("file-1")
    job = await away.take_over(away.job("ftjob-1"), keep_dataset=False)
    assert job.dataset is None
    asked = await away.take_over("ftjob-1")
    assert (asked.id, state(asked)) == (job.id, ("fetching", None))
    kept = await away.fetched(asked)
    assert state(kept)[0] == "kept"
    assert state(await away.take_over("ftjob-1"))[0] == "kept"
    assert away.downloads() == 1
    await away.ctx.store.files.delete(kept.training.id, "p")  # its owner deletes it, and asks once more
    back = await away.fetched(await away.take_over("ftjob-1"))
    [file] = await away.files()
    assert back.training.id == file.id != kept.training.id


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(404, "No such File object: file-1"), "No such File object"),
        (refusal(403, "You may not."), "You may not."),
        (refusal(400, "To help mitigate abuse, downloading of fine-tune training files is disabled"), "mitigate abuse"),
        (b"%PDF-1.4 a report", "not JSONL"),
        (gzip.compress(CONTENT), "not JSONL"),
        (b'{"messages": [' * 100, "not JSONL"),
    ],
)
async def test_what_cannot_be_had_is_lost_in_words(away: Away, answer: web.Response | bytes, words: str) -> None:
    async def _refuse(request: web.Request) -> web.Response:
        assert isinstance(answer, web.Response)
        return web.Response(status=answer.status, body=answer.body, content_type="application/json")

    away.file("file-1", answer if isinstance(answer, bytes) else _refuse)
    job = await away.fetched(await away.take_over(away.job("ftjob-1")))
    found, reason = state(job)
    assert found == "lost"
    assert reason
    assert reason.startswith("training file: ")
    assert words in reason
    assert (await away.files(), await away.on_disk()) == ([], [])
    assert job.training.upstream_id == "file-1"
    assert await away.bench.due_in(dataset_member(job.id)) is None
    away.file("file-1")  # it can be had after all: asked again, it is
    assert state(await away.fetched(await away.take_over("ftjob-1"))) == ("kept", None)


async def test_a_file_that_is_too_large_is_not_begun(away: Away) -> None:
    away.file("file-1")
    job = await away.fetched(await away.take_over(away.job("ftjob-1")), most_bytes=1000)
    assert state(job)[0] == "lost"
    assert "at most 1000 are kept" in (state(job)[1] or "")
    assert await away.on_disk() == []


async def test_an_endless_file_ends_at_the_limit(away: Away) -> None:
    async def _endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with suppress(ConnectionError):
            while True:
                await answer.write(b'{"messages": []}\n' * 4096)
        return answer

    away.file("file-1", _endless, bytes=None)
    job = await away.fetched(await away.take_over(away.job("ftjob-1")), most_bytes=4_000_000)
    assert state(job) == ("lost", "training file: It has more than 4000000 bytes.")
    assert await away.on_disk() == []


def _cut(how: str) -> Answer:
    """Answers with half of the bytes, and ends as `how` says."""

    async def _answer(request: web.Request) -> web.StreamResponse:
        if how == "503":
            return refusal(503, "overloaded")
        if how == "401":
            return refusal(401, "Incorrect API key provided: sk-sim***")
        if how == "redirect":
            return web.Response(status=302, headers={"location": "https://elsewhere.example/"})
        if how == "web page":
            return web.Response(text="<html>log in</html>", content_type="text/html")
        answer = web.StreamResponse()
        half = CONTENT[: len(CONTENT) // 2]
        if how == "broken off":
            answer.content_length = len(CONTENT)
        if how == "compressed, cut":
            answer.headers["content-encoding"] = "gzip"
            whole = gzip.compress(CONTENT)
            half = whole[: len(whole) // 2]
        if how == "longer":
            half = CONTENT + b"x"
        await answer.prepare(request)
        await answer.write(half)
        if how == "broken off" and request.transport:
            request.transport.abort()
        return answer

    return _answer


@pytest.mark.parametrize(
    "how", ["503", "401", "redirect", "web page", "broken off", "ended early", "compressed, cut", "longer"]
)
async def test_what_breaks_off_is_fetched_again(away: Away, how: str) -> None:
    away.file("file-1", _cut(how))
    job = await away.fetched(await away.take_over(away.job("ftjob-1")))
    found, reason = state(job)
    assert found == "fetching"
    assert reason
    assert "sk-sim" not in reason
    assert (await away.files(), await away.on_disk()) == ([], [])
    due = await away.bench.due_in(dataset_member(job.id))
    assert due is not None
    assert 0 < due <= 5
    away.file("file-1")
    assert state(await away.fetched(job)) == ("kept", None)
    [file] = await away.files()
    assert file.bytes == len(CONTENT)


async def test_an_upstream_that_never_gives_it_is_given_up(away: Away) -> None:
    away.file("file-1", _cut("503"))
    job = await away.take_over(away.job("ftjob-1"))
    assert state(await away.fetched(job))[0] == "fetching"
    found, reason = state(await away.fetched(job, give_up_seconds=0))
    assert found == "lost"
    assert reason
    assert "given up" in reason


async def test_a_compressed_answer_is_the_same_file(away: Away) -> None:
    async def _compressed(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(CONTENT), headers={"content-encoding": "gzip"})

    away.file("file-1", _compressed)
    job = await away.fetched(await away.take_over(away.job("ftjob-1")))
    assert state(job) == ("kept", None)
    assert path_of(away.ctx.files.storage, job.training.id).read_bytes() == CONTENT


async def test_the_training_file_stays_when_the_validation_file_is_lost(away: Away) -> None:
    away.file("file-1")
    job = await away.fetched(await away.take_over(away.job("ftjob-1", validation_file="file-gone")))
    found, reason = state(job)
    assert found == "lost"
    assert reason
    assert reason.startswith("validation file: ")
    assert (job.training.upstream_id, job.validation) == (None, None)


async def test_a_file_without_an_id_is_lost(away: Away) -> None:
    for number, name in enumerate(["../../models", ""]):
        job = await away.fetched(await away.take_over(away.job(f"ftjob-{number}", name)))
        assert state(job) == ("lost", "training file: The upstream 'openai' gives no id for it.")
    assert away.downloads() == 0


async def test_a_dataset_with_errors_is_kept_with_its_report_as_an_upload_is(away: Away) -> None:
    away.file("file-1", CONTENT + b'{"messages": "none"}\n')
    job = await away.fetched(await away.take_over(away.job("ftjob-1")))
    assert state(job) == ("kept", None)
    [file] = await away.files()
    assert file.status == "error"
    assert file.status_details


async def test_a_step_that_is_cut_short_leaves_nothing_and_is_done_again(away: Away) -> None:
    begun = asyncio.Event()

    async def _hangs(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = len(CONTENT)
        await answer.prepare(request)
        await answer.write(CONTENT[:5000])
        begun.set()
        await asyncio.sleep(30)
        return answer

    away.file("file-1", _hangs)
    job = await away.take_over(away.job("ftjob-1"))
    step = asyncio.create_task(away.fetched(job))
    await begun.wait()
    step.cancel()
    with suppress(asyncio.CancelledError):
        await step
    assert (await away.files(), await away.on_disk()) == ([], [])
    away.file("file-1")
    assert state(await away.fetched(job))[0] == "kept"


async def test_a_running_jobs_dataset_is_in_use_until_its_end(away: Away) -> None:
    away.file("file-1")
    job = await away.fetched(await away.take_over(away.job("ftjob-1", status="running", fine_tuned_model=None)))
    assert await away.ctx.store.files.users(job.training.id) == [job.id]


async def test_a_job_is_not_removed_while_its_files_are_fetched(away: Away, tmp_path: Path) -> None:
    away.file("file-1")
    job = await away.take_over(away.job("ftjob-1"))
    await away.ctx.store.unplan(f"job:{job.id}")
    ctx = replace(away.ctx, keep=replace(away.ctx.keep, jobs=0.0))
    await retention.sweep(ctx)
    assert state(await away.fetched(job))[0] == "kept"


def _models(day: str | None) -> object:
    return {"object": "list", "data": [{"id": "gpt-4.1-mini-2025-04-14", "shutdown_date": day}]}


@pytest.mark.parametrize("answer", [_models("2999-01-14"), _models(None), None])
async def test_the_dataset_of_a_model_that_still_answers_is_not_removed(away: Away, answer: object) -> None:
    """`None`: the upstream does not say. The job itself goes: the model keeps what trains it again."""
    away.file("file-1")
    away.file("file-2", dataset(20))
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}
    job = await away.fetched(await away.take_over(away.job("ftjob-1", method=method)))
    unused = await away.fetched(
        await away.take_over(away.job("ftjob-2", "file-2", fine_tuned_model=None, status="failed"))
    )
    for one in (job, unused):
        await away.ctx.store.unplan(f"job:{one.id}")
    ctx = replace(away.ctx, keep=replace(away.ctx.keep, jobs=0.0, datasets=0.0))
    away.there.answers["GET /models"] = answer
    await retention.sweep(ctx)
    assert [file.id for file in await away.files()] == [job.training.id]
    [made] = await away.ctx.store.models.of_project("p")
    assert (made.training_file, made.method) == (job.training.id, method)
    away.there.answers["GET /models"] = _models("2026-01-14")  # shut down
    await away.ctx.store.deletion.postpone(Ageing.DATASETS, job.training.id, -1)
    await retention.sweep(ctx)
    assert await away.files() == []


async def test_the_copy_of_another_projects_file_is_not_fetched(away: Away) -> None:
    """A job that was started by hand on a copy that Tunehook made there: any project may import it, not the file."""
    other = File(id="file-theirs", project="other", filename="a", purpose="fine-tune", bytes=1, created_at=1,
                 sha256="ab", status="processed")  # fmt: skip
    await away.ctx.store.files.add(other)
    ref = FileRef(id=other.id, sha256=other.sha256, bytes=1)
    await away.ctx.store.copies.want("openai", ref, "a", "ftjob-theirs")
    copy = await away.ctx.store.copies.read("openai", other.sha256)
    assert copy
    await away.ctx.store.commit(copy.change(copy.copy.model_copy(update={"upstream_file_id": "file-1"})))
    away.file("file-1")
    job = await away.fetched(await away.take_over(away.job("ftjob-1")))
    assert (state(job)[0], await away.files(), away.downloads()) == ("lost", [], 0)


class _Unreadable:
    """A dataset whose check ends its process each time."""

    async def ask(self, question: dict[str, Any], chunks: AsyncIterator[bytes], project: str = "") -> process.Answer:
        raise DatasetUnread(why="the checking process ended", detail="killed")

    async def close(self) -> None: ...


async def test_a_file_whose_check_never_ends_is_given_up(away: Away) -> None:
    """Otherwise it would be downloaded every 15 seconds for ever, and nobody told."""
    away.file("file-1")
    away.ctx = replace(away.ctx, files=replace(away.ctx.files, checker=_Unreadable()))
    job = await away.fetched(await away.take_over(away.job("ftjob-1")))
    assert state(job)[0] == "fetching"
    assert "could not be checked" in (state(job)[1] or "")
    job = await away.fetched(job, give_up_seconds=0)
    assert state(job)[0] == "lost"
    assert await away.on_disk() == []


async def test_a_full_disk_is_told_and_waited_for(away: Away) -> None:
    away.file("file-1", bytes=2**60)
    job = await away.fetched(await away.take_over(away.job("ftjob-1")), most_bytes=2**61)
    assert state(job)[0] == "fetching"
    assert "no room" in (state(job)[1] or "")
    job = await away.fetched(job, most_bytes=2**61, give_up_seconds=0)  # no verdict on the file
    assert state(job)[0] == "fetching"
    away.file("file-1")
    assert state(await away.fetched(job)) == ("kept", None)


async def test_a_file_that_is_needed_anew_is_as_old_as_a_new_one(away: Away) -> None:
    """Otherwise retention would remove it days after an import that asked for it."""
    away.file("file-1")
    members: dict[str, Any] = {"fine_tuned_model": None, "status": "failed"}
    first = await away.fetched(await away.take_over(away.job("ftjob-1", **members)))
    await away.ctx.store.deletion.postpone(Ageing.DATASETS, first.training.id, -89 * 86400)
    second = await away.fetched(await away.take_over(away.job("ftjob-2", **members)))
    assert second.training.id == first.training.id
    assert await away.ctx.store.deletion.older(Ageing.DATASETS, 86400, 10) == []


async def test_a_file_whose_bytes_are_gone_is_fetched_again(away: Away) -> None:
    """Its record was taken for the file, so a second import fetched nothing."""
    away.file("file-1")
    first = await away.fetched(await away.take_over(away.job("ftjob-1")))
    await away.ctx.files.storage.remove(first.training.id)
    again = await away.fetched(await away.take_over("ftjob-1"))
    assert again.training.id != first.training.id
    assert await away.ctx.files.storage.exists(again.training.id)
    other = await away.fetched(await away.take_over(away.job("ftjob-2")))
    assert other.training.id == again.training.id


async def test_notes_of_fetched_files_go_with_the_file(away: Away) -> None:
    away.file("file-1")
    away.file("file-2")
    jobs = [await away.fetched(await away.take_over(away.job(f"ftjob-{n}", f"file-{n}"))) for n in (1, 2)]
    assert len({job.training.id for job in jobs}) == 1
    redis = away.ctx.store.redis
    assert len([key async for key in redis.scan_iter("th:fetched:*")]) == 3
    await away.ctx.store.files.delete(jobs[0].training.id, "p")
    assert [key async for key in redis.scan_iter("th:fetched*")] == []
