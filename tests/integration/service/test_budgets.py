"""Budgets and limits of projects: two calls never take the last dollar, and no count drifts."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from tests.integration.service.conftest import DATASET, Api, form
from tunehook import api_keys, projects
from tunehook.errors import OverBudget
from tunehook.jobs import approvals, copy_step, cost, finishing, lifecycle, poller
from tunehook.jobs.acceptance import accept
from tunehook.model.api_key import Scope
from tunehook.model.file import File
from tunehook.model.job import Job, Stage, Waiting
from tunehook.model.member import job_member, queue_of
from tunehook.model.project import Money, millionths, month_of
from tunehook.model.record import new_id
from tunehook.store import doctor
from tunehook.store.engine import keys

MODEL = "gpt-4.1-mini-2025-04-14"
JOBS = "/v1/fine_tuning/jobs"


class Project:
    """A project with its key, one dataset, and the estimate of a job on it."""

    def __init__(self, api: Api, name: str, key: str, file_id: str, usd: float) -> None:
        self.api, self.name, self.key, self.file_id, self.usd = api, name, key, file_id, usd

    async def submit(self, **members: Any) -> Any:
        body = {"model": MODEL, "training_file": self.file_id} | members
        return await self.api.call("POST", JOBS, json=body, key=self.key)

    async def accepted(self, **members: Any) -> str:
        answer = await self.submit(seed=len(json.dumps(members)), **members)
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    async def limit(self, **limits: object) -> None:
        await projects.change(self.api.ctx.store, self.name, limits)

    async def used(self) -> tuple[int, int]:
        """Held and spent, in millionths."""
        store = self.api.ctx.store
        found = await projects.usage(store, self.name, await store.projects.read(self.name), now=int(time.time()))
        return found.held, found.spent

    async def job(self, job_id: str) -> Job:
        return (await self.api.ctx.store.jobs.read(job_id, self.name)).job


async def project(api: Api, name: str) -> Project:
    key, _ = await api_keys.create(api.ctx.store, api.ctx.webhooks.encryption, project=name, name=name)
    file_id = (await api.call("POST", "/v1/files", data=form(content=DATASET), key=key)).json["id"]
    answer = await api.call("POST", JOBS + "/estimate", json={"model": MODEL, "training_file": file_id}, key=key)
    return Project(api, name, key, file_id, answer.json["cost_usd"])


@pytest.fixture
async def birds(api: Api) -> Project:
    return await project(api, "birds")


@pytest.fixture
async def admin(api: Api) -> str:
    key, _ = await api_keys.create(
        api.ctx.store, api.ctx.webhooks.encryption, project="", name="a", scopes=[Scope.ADMIN]
    )
    return key


async def sound(api: Api) -> None:
    """The doctor finds no count that differs from the records."""
    found = [finding for finding in await doctor.findings(api.ctx.store) if finding.kind in ("money", "uncounted")]
    assert found == []


async def tracked(api: Api, job_id: str) -> Job:
    async with asyncio.timeout(60):
        while True:
            await lifecycle.advance(api.ctx, job_id)
            job = (await api.ctx.store.jobs.read(job_id)).job
            if job.stage in (Stage.TRACKED, Stage.SETTLED):
                return job
            await copy_step.copy_to_upstream(api.ctx, "openai", job.training.sha256)


async def test_two_projects_run_dry_side_by_side_under_200_submits_without_a_cent_too_much(
    api: Api, birds: Project
) -> None:
    fish = await project(api, "fish")
    both = {birds: 7, fish: 11}
    for one, jobs in both.items():
        await one.limit(monthly_budget_usd=one.usd * jobs + one.usd / 2)
    answers = await asyncio.gather(*(one.submit(seed=seed) for seed in range(100) for one in both))
    for index, (one, jobs) in enumerate(both.items()):
        mine = answers[index::2]
        assert Counter(answer.status for answer in mine) == {200: jobs, 429: 100 - jobs}
        assert await one.used() == (jobs * millionths(one.usd), 0)
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.error["code"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"
    assert "USD are left this month" in refused.error["message"]
    assert "It renews on 2" in refused.error["message"]
    await sound(api)


async def test_money_held_becomes_money_spent_by_the_upstreams_count(api: Api, birds: Project) -> None:
    await birds.limit(monthly_budget_usd=100)
    job_id = await birds.accepted()
    assert await birds.used() == (millionths(birds.usd), 0)
    await tracked(api, job_id)
    await api.simulator.advance(36000)
    await poller.poll(api.ctx, "openai")
    job = await birds.job(job_id)
    assert job.seen is not None
    assert job.price is not None
    assert job.seen.trained_tokens
    assert job.price.usd_per_million_tokens
    held, spent = await birds.used()
    assert held == 0
    assert spent == pytest.approx(job.seen.trained_tokens * job.price.usd_per_million_tokens, abs=1)
    await sound(api)


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_a_job_that_cost_nothing_gives_its_money_back(api: Api, birds: Project, end: str) -> None:
    await birds.limit(monthly_budget_usd=birds.usd)
    job_id = await birds.accepted()
    assert (await birds.submit(seed=3)).status == 429
    if end == "cancelled":
        await api.call("POST", f"{JOBS}/{job_id}/cancel", key=birds.key)
    else:
        await finishing.settle(api.ctx, await api.ctx.store.jobs.read(job_id), "failed")
    assert await birds.used() == (0, 0)
    assert (await birds.submit(seed=4)).status == 200
    await sound(api)


async def test_a_repeat_of_an_accepted_call_is_no_second_job_for_the_budget(birds: Project) -> None:
    await birds.limit(monthly_budget_usd=birds.usd)
    headers = {"idempotency-key": "once"}
    body = {"model": MODEL, "training_file": birds.file_id}
    first, second = [await birds.api.call("POST", JOBS, json=body, key=birds.key, headers=headers) for _ in range(2)]
    assert (first.status, second.status) == (200, 200)
    assert first.json["id"] == second.json["id"]


async def test_over_a_budget_that_holds_a_job_waits_and_an_operator_lets_it_go_on(
    api: Api, birds: Project, admin: str
) -> None:
    await birds.limit(monthly_budget_usd=0, over_budget="hold")
    answer = await birds.submit()
    assert (answer.status, answer.json["status"]) == (200, "queued")
    assert answer.json["tunehook"]["waiting"]["code"] == "awaiting_approval"
    job_id = answer.json["id"]
    for _ in range(3):
        await lifecycle.advance(api.ctx, job_id)
    assert (await birds.job(job_id)).stage is Stage.WAITING
    shown = await api.call("GET", "/v1/admin/projects/birds", key=admin)
    assert shown.json["awaiting_approval"] == [job_id]
    assert shown.json["usage"]["left_usd"] == 0
    path = f"/v1/admin/jobs/{job_id}/approve"
    assert (await api.call("POST", path, key=birds.key)).status == 403
    assert (await api.call("POST", path, key=admin)).json["tunehook"]["stage"] == "uploading"
    assert (await api.call("POST", path, key=admin)).error["code"] == "not_awaiting_approval"
    assert await birds.used() == (millionths(birds.usd), 0)
    assert (await tracked(api, job_id)).stage is Stage.TRACKED
    await sound(api)


async def test_an_approval_is_not_lost_to_a_step_that_read_the_job_before_it(api: Api, birds: Project) -> None:
    await birds.limit(monthly_budget_usd=0, over_budget="hold")
    job_id = await birds.accepted()
    store, member = api.ctx.store, job_member(job_id)
    read = await store.jobs.read(job_id)
    async with store.lease(member):
        await approvals.approve(api.ctx, job_id, by="an operator")
        await approvals.still_awaits(api.ctx, read)
    at = await store.redis.zscore(keys.due(queue_of(member)), member)
    assert at is not None
    assert at <= await store.now_ms()


async def test_a_rejected_job_fails_and_holds_nothing(api: Api, birds: Project, admin: str) -> None:
    await birds.limit(monthly_budget_usd=0, over_budget="hold")
    job_id = await birds.accepted()
    answer = await api.call("POST", f"/v1/admin/jobs/{job_id}/reject", key=admin)
    assert (answer.json["status"], answer.json["error"]["code"]) == ("failed", "approval_rejected")
    second = await birds.accepted(metadata={"a": "b"})
    assert (await api.call("POST", f"{JOBS}/{second}/cancel", key=birds.key)).json["status"] == "cancelled"
    shown = await api.call("GET", "/v1/admin/projects/birds", key=admin)
    assert shown.json["awaiting_approval"] == []
    assert (await api.call("POST", "/v1/admin/jobs/ftjob-none/reject", key=admin)).status == 404
    assert await birds.used() == (0, 0)
    await sound(api)


async def unchecked(api: Api, birds: Project) -> None:
    """The dataset is as it is before its check."""
    file = await api.ctx.store.files.read(birds.file_id, "birds")
    await api.ctx.store.files.replace(file.model_copy(update={"status": "uploaded", "dataset": None}))
    birds.api.ids["checked"] = file.model_dump_json()


async def checked(api: Api, birds: Project) -> None:
    await api.ctx.store.files.replace(File.model_validate_json(api.ids["checked"]))


@pytest.mark.parametrize("over_budget", ["fits", "hold", "refuse"])
async def test_money_for_an_unchecked_file_is_held_when_the_job_leaves_accepted(
    api: Api, birds: Project, over_budget: str
) -> None:
    fits = over_budget == "fits"
    await birds.limit(monthly_budget_usd=100 if fits else 0, over_budget="refuse" if fits else over_budget)
    await unchecked(api, birds)
    job_id = await birds.accepted()
    await lifecycle.advance(api.ctx, job_id)
    job = await birds.job(job_id)
    assert (job.stage, job.shown_status) == (Stage.ACCEPTED, "validating_files")
    assert await birds.used() == (0, 0)
    await checked(api, birds)
    await lifecycle.advance(api.ctx, job_id)
    assert (await birds.job(job_id)).stage is Stage.ACCEPTED, "its tokens are not counted yet"
    await cost.estimate_accepted(api.ctx, job_id)
    await lifecycle.advance(api.ctx, job_id)
    job = await birds.job(job_id)
    assert job.money is not None
    if fits:
        assert (job.stage, job.money.state) == (Stage.UPLOADING, "held")
        assert await birds.used() == (millionths(birds.usd), 0)
    elif over_budget == "hold":
        assert (job.stage, job.money.state) == (Stage.WAITING, "awaiting")
        assert job.shown_status == "queued"
    else:
        assert (job.stage, job.error and job.error.code) == (Stage.SETTLED, "insufficient_quota")
    await sound(api)


async def test_what_cannot_be_priced_states_its_limit_or_is_refused(birds: Project) -> None:
    await birds.limit(monthly_budget_usd=10)
    there = {"training_file": "upstream:file-abc"}
    refused = await birds.submit(**there)
    assert (refused.status, refused.error["code"]) == (400, "no_estimate")
    assert (await birds.submit(**there, tunehook={"max_cost_usd": 4})).status == 200
    assert await birds.used() == (4_000_000, 0)
    assert (await birds.submit(**there, tunehook={"max_cost_usd": 7})).status == 429


async def test_a_limit_beyond_all_sums_waits_for_an_operator_and_is_counted_whole(
    api: Api, birds: Project, admin: str
) -> None:
    await birds.limit(monthly_budget_usd=10)
    there = {"training_file": "upstream:file-abc", "tunehook": {"max_cost_usd": 1e300}}
    assert (await birds.submit(**there)).error["code"] == "insufficient_quota"
    await birds.limit(over_budget="hold")
    job_id = (await birds.submit(**there)).json["id"]
    assert (await api.call("POST", f"/v1/admin/jobs/{job_id}/approve", key=admin)).status == 200
    assert await birds.used() == (9 * 10**15, 0)
    await sound(api)


async def test_unsettled_jobs_and_jobs_a_day_are_limited(api: Api, birds: Project) -> None:
    first = await birds.accepted()
    await birds.limit(unsettled_jobs=3)
    answers = await asyncio.gather(*(birds.submit(seed=seed) for seed in range(8)))
    assert Counter(answer.status for answer in answers) == {200: 2, 429: 6}
    assert next(a for a in answers if a.status == 429).error["code"] == "project_limit_reached"
    await api.call("POST", f"{JOBS}/{first}/cancel", key=birds.key)
    assert (await birds.submit(seed=20)).status == 200
    assert (await birds.submit(seed=21)).status == 429
    await sound(api)
    await birds.limit(unsettled_jobs=None, jobs_per_day=1)
    assert (await birds.submit(seed=22)).status == 200
    refused = await birds.submit(seed=23)
    assert "1 jobs a day" in refused.error["message"]


async def test_the_doctor_finds_and_mends_counts_that_were_changed_by_hand(api: Api, birds: Project) -> None:
    await birds.limit(monthly_budget_usd=10, unsettled_jobs=9)
    job_id = await birds.accepted()
    redis = api.ctx.store.redis
    await redis.hincrby(keys.money("birds", month_of(int(time.time()))), "held", 5)
    await redis.zrem(keys.unsettled("birds"), job_id)
    found = [finding for finding in await doctor.findings(api.ctx.store) if finding.kind in ("money", "uncounted")]
    assert [finding.kind for finding in found] == ["money", "uncounted"]
    for finding in found:
        assert finding.mend is not None
        await finding.mend()
    await sound(api)


async def test_the_doctor_releases_no_money_that_an_unreadable_record_may_hold(api: Api, birds: Project) -> None:
    await birds.limit(monthly_budget_usd=10)
    job_id = await birds.accepted()
    await api.ctx.store.redis.hset(keys.job(job_id), "v", 99)
    found = {finding.kind: finding for finding in await doctor.findings(api.ctx.store)}
    assert "newer" in found
    assert found["money"].mend is None


async def test_limits_are_set_seen_and_taken_away_by_an_admin_key(api: Api, birds: Project, admin: str) -> None:
    path = "/v1/admin/projects/birds"
    answer = await api.call("POST", path, json={"monthly_budget_usd": 1.5, "unsettled_jobs": 2}, key=admin)
    assert (answer.json["limits"]["monthly_budget_usd"], answer.json["limits"]["jobs_per_day"]) == (1.5, None)
    answer = await api.call("POST", path, json={"monthly_budget_usd": None}, key=admin)
    assert (answer.json["limits"]["monthly_budget_usd"], answer.json["limits"]["unsettled_jobs"]) == (None, 2)
    listed = (await api.call("GET", "/v1/admin/projects", key=admin)).json["data"]
    assert [one["id"] for one in listed] == ["birds", "tests"]
    for wrong in ({"streams": -1}, {"over_budget": "ask"}, {"monthly_budget_usd": "much"}, {"over_budget": None}):
        assert (await api.call("POST", path, json=wrong, key=admin)).status == 400, wrong
    assert (await api.call("POST", "/v1/admin/projects/a:b", json={}, key=admin)).status == 400


async def test_requests_a_minute_are_limited_by_project(api: Api, birds: Project) -> None:
    await birds.limit(requests_per_minute=3)
    answers = [await api.call("GET", "/v1/files", key=birds.key) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    last = answers[-1]
    assert last.error["code"] == "rate_limit_exceeded"
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert "x-should-retry" not in last.headers
    assert (await api.call("GET", "/v1/files")).status == 200


async def test_stored_bytes_and_streams_are_limited_by_project(api: Api, birds: Project) -> None:
    job_id = await birds.accepted()
    await birds.limit(stored_bytes=2 * len(DATASET), streams=1)
    sizes = (len(DATASET), 1)
    statuses = [
        (await api.call("POST", "/v1/files", data=form(content=DATASET[:size]), key=birds.key)).status for size in sizes
    ]
    assert statuses == [200, 429]
    body = {"filename": "a.jsonl", "bytes": 1, "purpose": "fine-tune", "mime_type": "text/jsonl"}
    assert (await api.call("POST", "/v1/uploads", json=body, key=birds.key)).status == 429
    headers = {"authorization": f"Bearer {birds.key}", "accept": "text/event-stream"}
    events = f"{api.root}{JOBS}/{job_id}/events"
    async with api.session.get(events, headers=headers) as stream:
        assert stream.status == 200
        refused = await api.call("GET", f"{JOBS}/{job_id}/events", headers=headers)
        assert (refused.status, refused.error["code"]) == (429, "project_limit_reached")


async def test_a_stream_counts_no_longer_once_its_client_has_gone(api: Api, birds: Project) -> None:
    await birds.limit(streams=1)
    headers, opened = {"authorization": f"Bearer {birds.key}"}, 0
    async with asyncio.timeout(60):  # that its next comment told so took 15 s each time
        while opened < 8:
            async with api.session.get(f"{api.root}/v1/events", headers=headers) as stream:
                opened += stream.status == 200
            await asyncio.sleep(0.05)


async def test_files_that_arrive_at_once_are_never_more_than_the_limit(api: Api, birds: Project) -> None:
    await birds.limit(stored_bytes=3 * len(DATASET))
    sent = [api.call("POST", "/v1/files", data=form(content=DATASET), key=birds.key) for _ in range(10)]
    answers = await asyncio.gather(*sent)
    assert Counter(answer.status for answer in answers) == {200: 2, 429: 8}
    assert await api.ctx.store.files.total_bytes("birds") == 3 * len(DATASET)


async def test_open_uploads_count_until_they_are_over(api: Api, birds: Project) -> None:
    await birds.limit(stored_bytes=3 * len(DATASET))
    body = {"filename": "a.jsonl", "bytes": len(DATASET), "purpose": "fine-tune", "mime_type": "text/jsonl"}
    one, other, refused = [await api.call("POST", "/v1/uploads", json=body, key=birds.key) for _ in range(3)]
    assert (one.status, other.status, refused.status) == (200, 200, 429)
    assert (await api.call("POST", "/v1/files", data=form(content=DATASET), key=birds.key)).status == 429
    await api.call("POST", f"/v1/uploads/{other.json['id']}/cancel", key=birds.key)
    upload = f"/v1/uploads/{one.json['id']}"
    data = aiohttp.FormData()
    data.add_field("data", DATASET, filename="part")
    part = (await api.call("POST", f"{upload}/parts", data=data, key=birds.key)).json["id"]
    completed = await api.call("POST", f"{upload}/complete", json={"part_ids": [part]}, key=birds.key)
    assert completed.json["status"] == "completed"
    await asyncio.gather(*(api.call("POST", "/v1/uploads", json=body, key=birds.key) for _ in range(5)))
    assert await api.ctx.store.uploads.open_bytes("birds") <= len(DATASET)


async def test_a_dataset_is_measured_as_it_is_built(api: Api, birds: Project) -> None:
    await birds.limit(stored_bytes=len(DATASET) + 1000)
    pairs = [{"user": f"question {number}", "assistant": "an answer"} for number in range(30)]

    async def unmeasured() -> AsyncIterator[bytes]:
        yield json.dumps({"pairs": pairs}).encode()

    headers = {"content-type": "application/json"}
    answer = await api.call("POST", "/v1/datasets", data=unmeasured(), headers=headers, key=birds.key)
    assert (answer.status, answer.error["code"]) == (429, "project_limit_reached")


async def test_a_job_that_waits_for_a_slot_says_its_place_and_when_it_is_likely(api: Api, birds: Project) -> None:
    ids = [await birds.accepted(metadata={"a": str(number)}, tunehook={"priority": "low"}) for number in range(2)]
    store = api.ctx.store
    for job_id in ids:
        record = await store.jobs.read(job_id)
        assert record.job.priority == "low"
        waiting = Waiting(code="no_slot", reason="none", since=record.now, retry_at=record.now + 60)
        job = record.job.moved(Stage.WAITING, waiting=waiting)
        await store.commit(store.upstreams.queue_up(record.change(job), job))
    await store.redis.lpush(keys.slots_freed("openai"), *range(100, 600, 100))
    answer = await api.call("GET", f"{JOBS}/{ids[1]}", key=birds.key)
    assert answer.json["tunehook"]["waiting"]["place"] == 2
    assert answer.json["tunehook"]["waiting"]["slot_expected_at"] >= record.now


async def test_each_use_of_money_is_a_line_of_the_log(
    api: Api, birds: Project, admin: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tunehook.audit")
    await birds.limit(monthly_budget_usd=birds.usd, over_budget="hold")
    first, second = [await birds.accepted(metadata={"a": name}) for name in "ab"]
    await api.call("POST", f"/v1/admin/jobs/{second}/approve", key=admin)
    await api.call("POST", f"{JOBS}/{first}/cancel", key=birds.key)
    lines = [vars(record)["fields"] for record in caplog.records if record.name == "tunehook.audit"]
    assert [(line["job"], line["money"]) for line in lines] == [
        (first, "held"),
        (second, "awaiting"),
        (second, "held"),
        (first, "spent"),
    ]
    assert [line["usd"] for line in lines] == [birds.usd, birds.usd, birds.usd, 0]
    assert {line["project"] for line in lines} == {"birds"}
    assert lines[2]["by"] == admin.split("_")[1]


async def test_at_the_turn_of_the_year_money_stays_in_the_month_that_held_it(api: Api, birds: Project) -> None:
    """The budget is whole from the first second of January (UTC), while a job of December runs."""
    new_year = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    pattern = await birds.job(await birds.accepted())
    await birds.limit(monthly_budget_usd=birds.usd * 1.5)
    await api.call("GET", JOBS, key=birds.key)  # a process reads the limits at its next request
    wanted = Money(state="wanted", amount=millionths(birds.usd))

    async def accepted(at: int) -> Job:
        job = pattern.model_copy(update={"id": new_id("ftjob-"), "created_at": at, "money": wanted})
        return (await accept(api.ctx, job, remember=[], recall=[])).job

    async def used(at: int) -> tuple[int, int]:
        store = api.ctx.store
        found = await projects.usage(store, birds.name, await store.projects.read(birds.name), now=at)
        return found.held, found.spent

    december = await accepted(new_year - 1)
    with pytest.raises(OverBudget, match="2027-01-01"):
        await accepted(new_year - 1)
    january = await accepted(new_year)
    with pytest.raises(OverBudget, match="2027-02-01"):
        await accepted(new_year)
    assert await used(new_year - 1) == await used(new_year) == (wanted.amount, 0)
    await sound(api)
    await tracked(api, december.id)
    await api.simulator.advance(3600)
    await poller.poll(api.ctx, "openai")
    ended = await birds.job(december.id)
    assert ended.money is not None
    assert (ended.stage, ended.money.month) == (Stage.SETTLED, "2026-12")
    assert await used(new_year - 1) == (0, ended.money.spent)
    assert await used(new_year) == (wanted.amount, 0)
    assert (await birds.job(january.id)).money == wanted.model_copy(update={"state": "held", "month": "2027-01"})
    await sound(api)
