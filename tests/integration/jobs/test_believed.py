"""How far an upstream is believed: whose job an answer is about, ids, statuses, an end without its model, events."""

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.fakes.strange_upstream import StrangeUpstream, strange_upstream
from tests.integration.conftest import MODEL, Bench
from tunehook.context import Context
from tunehook.errors import UpstreamUnknown
from tunehook.jobs import commands, copy_step, event_log, lifecycle, poller
from tunehook.jobs.finishing import LATE_MEMBERS_SECONDS
from tunehook.jobs.tracking import UNNAMED_SECONDS
from tunehook.model.job import Job, Stage
from tunehook.openai_format import jobs
from tunehook.settings import UpstreamSettings
from tunehook.store.engine import keys
from tunehook.upstreams.client import OpenAIUpstream

Row = dict[str, Any]
THERE = "ftjob-there"


def page(*rows: Row) -> Row:
    return {"object": "list", "data": list(rows), "has_more": False}


class At:
    """A job of ours at an upstream that answers what the test says."""

    def __init__(self, bench: Bench, strange: StrangeUpstream) -> None:
        self.bench, self.strange = bench, strange
        self.ctx: Context = replace(bench.ctx, upstreams={"openai": strange.upstream})
        self.job_id = ""

    async def at_its_create(self) -> str:
        """Its dataset is there; returns the upstream's id of that file."""
        self.job_id = await self.bench.accept()
        await lifecycle.advance(self.bench.ctx, self.job_id)
        training = (await self.job()).training
        await copy_step.copy_to_upstream(self.bench.ctx, "openai", training.sha256)
        record = await self.ctx.store.copies.read("openai", training.sha256)
        assert record is not None
        return str(record.copy.upstream_file_id)

    async def job(self) -> Job:
        return (await self.bench.read(self.job_id)).job

    def says(self, **members: Any) -> Row:
        """What the upstream shows of our job from now on, alone and in its list."""
        mark = {"tunehook": f"tunehook/{self.job_id}"}
        row: Row = {"id": THERE, "status": "running", "model": MODEL, "created_at": 1, "metadata": mark, **members}
        self.strange.answers |= {
            f"GET /fine_tuning/jobs/{THERE}": row,
            "GET /fine_tuning/jobs": page(row),
            f"GET /fine_tuning/jobs/{THERE}/events": page(),
            f"GET /fine_tuning/jobs/{THERE}/checkpoints": page(),
        }
        return row

    async def tracked(self, **members: Any) -> None:
        await self.at_its_create()
        self.strange.answers["POST /fine_tuning/jobs"] = self.says(**members)
        await lifecycle.advance(self.ctx, self.job_id)
        assert (await self.job()).upstream_job_id == THERE

    async def poll(self) -> Job:
        await poller.poll(self.ctx, "openai")
        return await self.job()

    async def advance(self) -> Job:
        await lifecycle.advance(self.ctx, self.job_id)
        return await self.job()

    async def earlier(self, **members: Any) -> None:
        """Sets times of the record back."""
        record = await self.bench.read(self.job_id)
        await self.ctx.store.commit(record.change(record.job.model_copy(update=members)))

    async def log(self) -> list[str]:
        return [entry.message.message for entry in await self.ctx.store.job_log.after(self.job_id, "0-0", 1000)]


@pytest.fixture
async def at(bench: Bench) -> AsyncIterator[At]:
    async with strange_upstream() as strange:
        yield At(bench, strange)


# ---- whose job an answer is about


@pytest.mark.parametrize(
    "members",
    [
        {"metadata": {"tunehook": "another/ftjob-theirs"}, "id": "ftjob-theirs"},
        {"metadata": {"tunehook": "tunehook/ftjob-other"}, "id": "ftjob-theirs"},
        {"metadata": {"team": "them"}, "id": "ftjob-theirs"},
        {"metadata": None, "training_file": "file-theirs", "id": "ftjob-theirs"},
        {"metadata": {}, "model": "babbage-002", "id": "ftjob-theirs"},
        *({"id": odd} for odd in ("../../files", "", "..", ".", "a/b", "a?b", "a#b", "x" * 5000, 17, None, ["a"], "ä")),
    ],
)
async def test_a_create_that_is_answered_with_another_job_is_of_unknown_outcome(at: At, members: Row) -> None:
    """Ours was created all the same: it is found by its mark, and nothing else is tracked or cancelled."""
    await at.at_its_create()
    ours = at.says()
    at.strange.answers["POST /fine_tuning/jobs"] = ours | members
    job = await at.advance()
    assert (job.stage, job.upstream_job_id) == (Stage.CREATING, None)
    assert job.doubtful_since is not None
    theirs = ours | {"metadata": None} | members
    at.strange.answers["GET /fine_tuning/jobs"] = page(theirs, ours)
    job = await at.advance()
    assert (job.stage, job.upstream_job_id) == (Stage.TRACKED, THERE)
    await at.poll()
    await at.ctx.store.jobs.mark_cancelled(at.job_id)
    at.strange.answers[f"POST /fine_tuning/jobs/{THERE}/cancel"] = ours | {"status": "cancelled"}
    assert (await at.advance()).status == "cancelled"
    sent = [call for call in at.strange.asked if call.startswith("POST")]
    assert sent == ["POST /fine_tuning/jobs", f"POST /fine_tuning/jobs/{THERE}/cancel"]


@pytest.mark.parametrize(
    ("members", "model"),
    [({"metadata": None, "training_file": None}, ""), ({"metadata": {}}, MODEL), ({"metadata": None}, "gpt-4.1-mini")],
)
async def test_an_upstream_that_shows_no_metadata_is_still_believed(at: At, members: Row, model: str) -> None:
    training = await at.at_its_create()
    answer = at.says(model=model) | {"training_file": training} | members
    at.strange.answers["POST /fine_tuning/jobs"] = answer
    assert (await at.advance()).upstream_job_id == THERE


@pytest.mark.parametrize("verb", ["pause", "cancel"])
@pytest.mark.parametrize("members", [{"id": "ftjob-theirs"}, {"metadata": {"tunehook": "another/ftjob-theirs"}}])
async def test_another_jobs_end_is_not_ours(at: At, verb: str, members: Row) -> None:
    await at.tracked()
    at.strange.answers[f"POST /fine_tuning/jobs/{THERE}/{verb}"] = at.says() | {"status": "cancelled"} | members
    if verb == "cancel":
        await at.ctx.store.jobs.mark_cancelled(at.job_id)
        await at.advance()
    else:
        with pytest.raises(UpstreamUnknown, match="another job"):
            await commands.pause_or_resume(at.ctx, at.job_id, "p", "pause")
    assert (await at.job()).stage is Stage.TRACKED


async def test_a_list_that_shows_another_deployments_mark_under_our_jobs_id_is_not_believed(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    await at.tracked()
    at.says(status="failed", metadata={"tunehook": "another/ftjob-theirs"})
    assert (await at.poll()).stage is Stage.TRACKED
    assert "shows another job" in caplog.text
    at.says(status="failed")
    assert (await at.poll()).status == "failed"


async def test_odd_ids_of_result_files_are_not_fetched(at: At) -> None:
    await at.tracked()
    odd = ["../jobs", "", None, 5, "a/b", "x" * 500]
    at.says(status="succeeded", fine_tuned_model="ft:x", trained_tokens=5, result_files=[*odd, "file-result"])
    at.strange.answers["GET /files/file-result/content"] = {"step": 1}
    assert list((await at.poll()).result_files) == ["file-result"]
    await at.advance()
    assert not [call for call in at.strange.asked if "/content" in call and "file-result" not in call]


async def test_a_model_of_another_project_stays_theirs(at: At) -> None:
    await at.tracked()
    await at.ctx.store.redis.hset(keys.MODEL_OWNERS, "ft:theirs", "other")
    at.says(status="succeeded", fine_tuned_model="ft:theirs", trained_tokens=5)
    assert (await at.poll()).status == "succeeded"
    assert await at.ctx.store.models.owner("ft:theirs") == "other"
    assert await at.ctx.store.models.find("ft:theirs", "p") is None
    assert any("a name that is taken here" in text for text in await at.log())


# ---- why it cannot be reached


async def test_a_job_that_waits_says_why_its_upstream_cannot_be_reached(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    await at.at_its_create()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    closed = OpenAIUpstream("openai", UpstreamSettings(base_url=url, api_key=SecretStr("sk-simulated")))
    await lifecycle.advance(replace(at.ctx, upstreams={"openai": closed}), at.job_id)
    await closed.close()
    waiting = (await at.job()).waiting
    assert waiting is not None
    assert waiting.code == "upstream_unreachable"
    assert waiting.reason == "No connection to the upstream 'openai' could be made: the connection was refused."
    assert waiting.reason in caplog.text


# ---- statuses


@pytest.mark.parametrize("status", ["completed", "SUCCEEDED", "x" * 5000])
async def test_a_status_that_is_not_known_is_logged_once_and_shown(
    at: At, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    await at.tracked()
    for finished_at in (None, 5, 6):  # each poll has news
        at.says(status=status, finished_at=finished_at)
        assert (await at.poll()).stage is Stage.TRACKED
    at.says(status="another one")
    await at.poll()
    assert caplog.text.count("not known here") == 1
    assert sum("not known here" in text for text in await at.log()) == 1
    job = await at.job()
    assert jobs.job_object(job, revision=1)["tunehook"]["upstream_status"] == "another one"
    at.says(status="failed")
    assert (await at.poll()).status == "failed"


async def test_a_create_that_is_answered_with_an_unknown_status_is_logged_too(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    await at.tracked(status="accepted")
    await at.poll()
    assert caplog.text.count("not known here") == 1


@pytest.mark.parametrize("method", [{"type": None}, {}, {"type": ["dpo"]}, {"type": "new"}, "supervised", 5])
async def test_a_method_that_is_not_known_hides_no_job(at: At, method: object) -> None:
    await at.tracked(method=method, hyperparameters={"n_epochs": {"odd": 1}})
    shown = jobs.job_object(await at.job(), revision=1)
    assert isinstance(shown["method"]["type"], str)


# ---- an end without what it brings


async def test_an_end_without_the_models_name_is_told_when_the_name_is_there(at: At) -> None:
    await at.tracked()
    at.says(status="succeeded", trained_tokens=5)
    for _ in range(3):
        job = await at.poll()
        assert job.stage is Stage.TRACKED
    assert jobs.job_object(job, revision=1)["status"] == "running"
    assert sum("is polled for its model's name" in text for text in await at.log()) == 1
    at.says(status="succeeded", trained_tokens=5, fine_tuned_model="ft:late")
    job = await at.poll()
    assert (job.status, job.seen and job.seen.fine_tuned_model) == ("succeeded", "ft:late")


async def test_a_model_that_is_never_named_holds_the_end_up_for_a_bounded_time(at: At) -> None:
    await at.tracked()
    at.says(status="succeeded", trained_tokens=5)
    since = (await at.poll()).unnamed_since
    assert since is not None
    await at.earlier(unnamed_since=since - UNNAMED_SECONDS - 1)
    assert (await at.poll()).status == "succeeded"
    assert any("has not named the model" in text for text in await at.log())


async def test_a_cancel_does_not_wait_for_a_models_name(at: At) -> None:
    await at.tracked()
    at.says(status="succeeded")
    await at.poll()
    await at.ctx.store.jobs.mark_cancelled(at.job_id)
    assert (await at.advance()).status == "succeeded"


async def test_what_an_upstream_says_after_the_end_is_taken_too(at: At) -> None:
    await at.tracked()
    at.says(status="succeeded")
    await at.poll()
    await at.earlier(unnamed_since=1)
    assert (await at.poll()).status == "succeeded"
    await at.advance()
    assert await at.bench.due_in(f"job:{at.job_id}")
    at.says(status="succeeded", fine_tuned_model="ft:late", trained_tokens=42, result_files=["file-result"])
    at.strange.answers["GET /files/file-result/content"] = {"step": 1}
    job = await at.advance()
    shown = jobs.job_object(job, revision=1)
    assert (shown["fine_tuned_model"], shown["trained_tokens"]) == ("ft:late", 42)
    (file_id,) = shown["result_files"]
    assert (await at.ctx.store.files.read(file_id, "p")).status == "processed"
    assert await at.ctx.store.models.owner("ft:late") == "p"


async def test_members_that_come_a_moment_after_the_end_are_soon_there(at: At) -> None:
    await at.tracked()
    at.says(status="succeeded", fine_tuned_model="ft:x")
    await at.poll()
    await at.advance()
    assert 1 < (await at.bench.due_in(f"job:{at.job_id}") or 0) <= 3


async def test_what_never_comes_is_not_asked_for_for_ever(at: At) -> None:
    await at.tracked()
    at.says(status="succeeded", fine_tuned_model="ft:x")
    settled_at = (await at.poll()).settled_at
    assert settled_at is not None
    await at.earlier(settled_at=settled_at - 60)
    await at.advance()
    assert 55 < (await at.bench.due_in(f"job:{at.job_id}") or 0) < 70
    await at.earlier(settled_at=settled_at - LATE_MEMBERS_SECONDS - 1)
    await at.advance()
    assert await at.bench.due_in(f"job:{at.job_id}") is None


async def test_a_list_that_is_none_ends_no_poll(at: At, caplog: pytest.LogCaptureFixture) -> None:
    await at.tracked()
    at.says(status="queued", method={"type": "dpo", "dpo": {"x": "y" * 3_000_000}})
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    at.strange.answers["GET /fine_tuning/jobs/ftjob-there/events"] = page({"id": "ev-1", "message": "m", "data": deep})
    await at.poll()
    assert "too large" in caplog.text
    for rows in (5, None, {"a": 1}, "x"):
        at.strange.answers["GET /fine_tuning/jobs/ftjob-there/checkpoints"] = {"data": rows}
        with pytest.raises(UpstreamUnknown):
            await at.ctx.upstreams["openai"].checkpoints(THERE, after=None, limit=10)
    at.says(status="failed")
    assert (await at.poll()).status == "failed"


# ---- events


class Events:
    """A list of events, newest first, in pages. `stable`: whether an event keeps its id."""

    def __init__(self, at: At, *, stable: bool, pages: bool = True) -> None:
        self.rows: list[tuple[int, str]] = []
        self.stable, self.pages, self.answers = stable, pages, 0
        at.strange.answers[f"GET /fine_tuning/jobs/{THERE}/events"] = self.answer

    async def answer(self, request: web.Request) -> web.Response:
        self.answers += 1
        rows = [
            {"id": f"ev-{n}" if self.stable else f"ev-{self.answers}-{n}", "created_at": at, "message": text}
            for n, (at, text) in enumerate(self.rows)
        ][::-1]
        after = request.query.get("after", "")
        if self.pages and after:
            rows = rows[len(self.rows) - int(after.rpartition("-")[2]) :]
        return web.json_response({"data": rows[:100], "has_more": len(rows) > 100})


@pytest.mark.parametrize("stable", [True, False])
async def test_each_event_is_kept_once_whatever_its_id(at: At, stable: bool) -> None:
    await at.tracked()
    events, kept = Events(at, stable=stable), len(await at.log())
    job = await at.job()
    for count in (3, 3, 10, 10, 350, 351, 351):
        while len(events.rows) < count:
            events.rows.append((1000 + len(events.rows) // 2, f"Step {len(events.rows)}"))
        await event_log.fetch(at.ctx, job)
        assert (await at.log())[kept:] == [f"Step {n}" for n in range(count)]
    names = await at.ctx.store.redis.scard(keys.job_log_seen(at.job_id))
    assert names == 2 * 351, "reading again adds nothing"


@pytest.mark.parametrize("stable", [True, False])
async def test_two_events_of_the_same_words_and_second_are_two(at: At, stable: bool) -> None:
    await at.tracked()
    events, kept = Events(at, stable=stable), len(await at.log())
    job = await at.job()
    for count in (1, 2, 2, 3, 3):
        events.rows = [(1000, "Retrying")] * count
        await event_log.fetch(at.ctx, job)
        assert (await at.log())[kept:] == ["Retrying"] * count


async def test_an_equal_event_before_the_known_one_is_two_as_well(at: At) -> None:
    """Events of one second may change places."""
    await at.tracked()
    events, kept = Events(at, stable=True), len(await at.log())
    at.strange.answers[f"GET /fine_tuning/jobs/{THERE}/events"] = page({"id": "ev-1", "created_at": 5, "message": "x"})
    await event_log.fetch(at.ctx, await at.job())
    at.strange.answers[f"GET /fine_tuning/jobs/{THERE}/events"] = page(
        {"id": "ev-1", "created_at": 5, "message": "x"}, {"id": "ev-0", "created_at": 5, "message": "x"}
    )
    await event_log.fetch(at.ctx, await at.job())
    assert (await at.log())[kept:] == ["x", "x"]
    assert events.answers == 0


@pytest.mark.parametrize("stable", [True, False])
async def test_an_upstream_that_gives_its_first_page_again_and_again_is_asked_twice(at: At, stable: bool) -> None:
    await at.tracked()
    events, kept = Events(at, stable=stable, pages=False), len(await at.log())
    events.rows = [(n, f"Step {n}") for n in range(150)]
    await event_log.fetch(at.ctx, await at.job())
    assert events.answers == 2
    assert len(await at.log()) - kept == 100


async def test_the_log_of_an_earlier_version_which_knows_ids_alone_is_continued(at: At) -> None:
    await at.tracked()
    events, kept = Events(at, stable=True), len(await at.log())
    events.rows = [(5, "x"), (5, "x"), (6, "y")]
    await event_log.fetch(at.ctx, await at.job())
    redis, seen = at.ctx.store.redis, keys.job_log_seen(at.job_id)
    await redis.srem(seen, *[name for name in await redis.smembers(seen) if name.startswith("=")])
    for more in ([], [(6, "y")], []):
        events.rows += more
        await event_log.fetch(at.ctx, await at.job())
    assert (await at.log())[kept:] == ["x", "x", "y", "y"]


async def test_events_without_an_id_are_kept_once(at: At) -> None:
    await at.tracked()
    kept = len(await at.log())
    rows = [{"created_at": n // 2, "message": "Step"} for n in range(6)]
    for count in (2, 5, 6, 6):
        at.strange.answers[f"GET /fine_tuning/jobs/{THERE}/events"] = page(*rows[:count][::-1]) | {"has_more": True}
        await event_log.fetch(at.ctx, await at.job())
        assert (await at.log())[kept:] == ["Step"] * count


async def test_an_events_texts_are_cut(at: At) -> None:
    await at.tracked()
    row = {
        "id": "x" * 90_000,
        "created_at": 1,
        "level": "l" * 9000,
        "message": "m" * 90_000,
        "data": {"a": "b" * 90_000},
    }
    at.strange.answers[f"GET /fine_tuning/jobs/{THERE}/events"] = page(row)
    await event_log.fetch(at.ctx, await at.job())
    await event_log.fetch(at.ctx, await at.job())
    entries = await at.ctx.store.job_log.after(at.job_id, "0-0", 1000)
    assert len(entries[-1].message.model_dump_json()) < 10_000
    assert sum(entry.message.upstream_event_id is not None for entry in entries) == 1
