"""Jobs at an upstream that may be ours and bear no mark: none is paid for twice, and none of another is taken."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.strange_upstream import refusal, strange_upstream
from tests.integration.conftest import Bench
from tests.integration.jobs.test_believed import THERE, At, Row, page
from tunehook.jobs import imports
from tunehook.model.api_key import ApiKey
from tunehook.model.job import Job, Stage
from tunehook.store.engine import keys

LOST = "POST /fine_tuning/jobs"
DAYS = 2 * 24 * 3600


class Gateway(At):
    """Creates what it is asked to, puts metadata of its own into it, and loses the answer.

    `filters`: a search by metadata is passed on and finds nothing. `listed`: the jobs that it lists.
    """

    def __init__(self, *given: Any, filters: bool) -> None:
        super().__init__(*given)
        self.ctx = replace(self.ctx, settle_seconds=0.01)
        self.filters = filters
        self.listed: list[Row] = []
        self.creates = 0
        self.answer: tuple[int, str, str | None] = (500, "Internal error", None)

    async def begin(self, **members: Any) -> None:
        """A job before its create, of which the gateway will list `members`."""
        training = await self.at_its_create()
        job = await self.job()
        alike: Row = {"id": THERE, "status": "running", "model": job.spec.model, "created_at": job.created_at}
        made = alike | {"seed": job.spec.seed, "training_file": training, **members}

        async def _create(_: web.Request) -> web.Response:
            self.creates += 1
            self.listed = [made, *self.listed]
            return refusal(*self.answer)

        async def _list(request: web.Request) -> web.Response:
            filtered = self.filters and any(name.startswith("metadata") for name in request.query)
            return web.json_response(page(*([] if filtered else self.listed)))

        self.strange.answers |= {LOST: _create, "GET /fine_tuning/jobs": _list}

    async def many_steps(self) -> Job:
        for _ in range(8):
            job = await self.advance()
        return job


@pytest.fixture(params=[True, False], ids=["filters", "ignores the filter"])
async def gateway(bench: Bench, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with strange_upstream() as strange:
        yield Gateway(bench, strange, filters=request.param)


def assert_held(job: Job) -> None:
    assert job.waiting is not None
    assert job.waiting.code == "unknown_outcome"
    assert THERE in job.waiting.reason


@pytest.mark.parametrize("metadata", [{"team": "them"}, {"cost": 1}, {"tune": "hook", "run": "1"}])
async def test_a_job_in_which_a_gateway_replaced_our_mark_is_not_created_again(
    gateway: Gateway, metadata: dict[str, object]
) -> None:
    await gateway.begin(metadata=metadata)
    assert_held(await gateway.many_steps())
    assert gateway.creates == 1


async def test_nor_where_other_jobs_bear_marks(gateway: Gateway) -> None:
    await gateway.begin(metadata={"team": "them"})
    gateway.listed = [{"id": "ftjob-old", "status": "running", "metadata": {"tunehook": "tunehook/ftjob-old"}}]
    assert_held(await gateway.many_steps())
    assert gateway.creates == 1


async def test_nor_after_a_429(gateway: Gateway) -> None:
    await gateway.begin(metadata={"team": "them"})
    gateway.answer = (429, "Slow down.", "slow_down")
    assert_held(await gateway.many_steps())
    assert gateway.creates == 1


async def test_nor_when_a_restored_redis_has_forgotten_the_create(gateway: Gateway) -> None:
    await gateway.begin()
    created_at = (await gateway.job()).created_at - DAYS
    await gateway.earlier(created_at=created_at)
    job = await gateway.job()
    there = {"id": THERE, "status": "succeeded", "created_at": created_at + 5, "metadata": {"team": "them"}}
    copy = await gateway.ctx.store.copies.read("openai", job.training.sha256)
    assert copy is not None
    gateway.listed = [there | {"seed": job.spec.seed, "training_file": copy.copy.upstream_file_id}]
    assert_held(await gateway.many_steps())
    assert gateway.creates == 0


async def test_it_is_tracked_when_its_mark_is_shown_after_all(gateway: Gateway) -> None:
    await gateway.begin(metadata={"team": "them"})
    await gateway.many_steps()
    gateway.filters = False
    gateway.listed[0]["metadata"] = {"tunehook": f"tunehook/{gateway.job_id}"}
    assert (await gateway.advance()).upstream_job_id == THERE


async def test_who_imports_it_and_cancels_nothing_pays_for_no_second_one(gateway: Gateway) -> None:
    await gateway.begin(metadata={"team": "them"})
    await gateway.many_steps()
    gateway.strange.answers[f"GET /fine_tuning/jobs/{THERE}"] = gateway.listed[0]
    caller = ApiKey(id="k", project="p", name="k", secret_sha256="", callback_secret="", created_at=1)
    await imports.import_job(gateway.ctx, caller, upstream="openai", upstream_job_id=THERE, callback_url=None)
    assert_held(await gateway.many_steps())
    assert gateway.creates == 1


async def test_a_cancelled_one_ends_and_cancels_nothing_there(gateway: Gateway) -> None:
    await gateway.begin(metadata={"team": "them"})
    await gateway.advance()
    await gateway.ctx.store.jobs.mark_cancelled(gateway.job_id)
    assert (await gateway.many_steps()).status == "cancelled"
    assert [call for call in gateway.strange.asked if call.startswith("POST")] == [LOST]


@pytest.mark.parametrize(
    "members", [{"seed": 4}, {"training_file": "file-theirs"}, {"created_at": 1000}, {"metadata": {"tunehook": "a/b"}}]
)
async def test_a_job_that_is_not_alike_holds_up_no_create(gateway: Gateway, members: Row) -> None:
    await gateway.begin(**{"metadata": {"team": "them"}, **members})
    for _ in range(4):
        await gateway.advance()
    assert gateway.creates == 2


async def test_a_twin_that_another_job_here_has_holds_up_no_create(gateway: Gateway) -> None:
    await gateway.begin(metadata={"team": "them"})
    await gateway.advance()
    await gateway.ctx.store.redis.hset(keys.known("openai"), THERE, "ftjob-twin")
    for _ in range(4):
        await gateway.advance()
    assert gateway.creates == 2


# ---- a create that is answered with a job that another job here has


@pytest.mark.parametrize("metadata", ["mark", None])
async def test_an_answer_with_the_job_of_another_job_here_is_followed_by_no_second_create(
    gateway: Gateway, metadata: str | None
) -> None:
    """It was imported before the answer came, or a twin without a mark took it for its own."""
    await gateway.begin()
    marked = {"tunehook": f"tunehook/{gateway.job_id}"} if metadata else None
    training = (await gateway.job()).training.sha256
    copy = await gateway.ctx.store.copies.read("openai", training)
    assert copy is not None
    row = gateway.says(metadata=marked, seed=1, training_file=copy.copy.upstream_file_id)
    gateway.strange.answers[LOST] = row
    await gateway.ctx.store.redis.hset(keys.known("openai"), THERE, "ftjob-twin")
    await gateway.ctx.store.redis.zadd(keys.waiting("openai"), {gateway.job_id: 1})
    job = await gateway.advance()
    assert (job.stage, job.answered_with) == (Stage.CREATING, THERE)
    assert gateway.job_id in await gateway.ctx.store.upstreams.watched_for_extras("openai")
    assert await gateway.ctx.store.upstreams.next_waiting("openai") is None, "deciding takes minutes"
    assert any("another job here has it" in text for text in await gateway.log())
    assert_held(await gateway.many_steps())
    assert [call for call in gateway.strange.asked if call.startswith("POST")] == [LOST]
