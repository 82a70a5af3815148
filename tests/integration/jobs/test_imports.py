"""A job that is taken over under another spelling of its id."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from tests.integration.conftest import Bench
from tests.integration.jobs.test_poller import elsewhere
from tunehook import api_keys
from tunehook.errors import InvalidParameter, UnknownUpstream
from tunehook.jobs import import_list, imports
from tunehook.model.api_key import ApiKey
from tunehook.model.job import UpstreamJob
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream


class AnyCase(OpenAIUpstream):
    """An upstream that takes `FTJOB-1` for `ftjob-1`, and shows no metadata by which one would know whose it is."""

    async def retrieve(self, job_id: str) -> UpstreamJob:
        found = [job for job in (await self.page(None))[0] if job.id.lower() == job_id.lower()]
        seen = await super().retrieve(found[0].id if found else job_id)
        return seen.model_copy(update={"metadata": None})


class OneAPage(OpenAIUpstream):
    """An upstream with one job a page. `read`: how many pages were read."""

    read = 0

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        self.read += 1
        jobs, _ = await super().page(None)
        at = [job.id for job in jobs].index(after) + 1 if after else 0
        return jobs[at : at + 1], at + 1 < len(jobs)


@pytest.fixture
async def any_case(bench: Bench) -> AsyncIterator[Bench]:
    settings = UpstreamSettings(base_url=bench.simulator.base_url, api_key=SecretStr("sk-simulated"))
    upstream = AnyCase("openai", settings)
    yield Bench(replace(bench.ctx, upstreams={"openai": upstream}), bench.simulator)
    await upstream.close()


async def stranger(bench: Bench) -> ApiKey:
    key, _ = await api_keys.create(bench.ctx.store, bench.ctx.webhooks.encryption, project="another", name="n")
    return await api_keys.authenticate(bench.ctx.store, key)


async def adopt(bench: Bench, caller: ApiKey, upstream_job_id: str) -> str:
    record = await imports.import_job(
        bench.ctx, caller, upstream="openai", upstream_job_id=upstream_job_id, callback_url=None
    )
    return record.job.id


async def test_no_other_project_takes_a_job_over_by_another_spelling_of_its_id(any_case: Bench) -> None:
    caller = await stranger(any_case)
    job_id = await any_case.accept()
    there = (await any_case.until_tracked(job_id)).job.upstream_job_id
    assert there
    with pytest.raises(InvalidParameter) as refused:
        await adopt(any_case, caller, there.swapcase())
    assert refused.value.param == "upstream_job_id"
    assert there in refused.value.message
    assert job_id not in refused.value.message
    with pytest.raises(InvalidParameter, match="no job"):
        await adopt(any_case, caller, there)
    assert (await any_case.ended(job_id)).job.status == "succeeded"


async def test_who_asks_by_another_spelling_is_told_the_right_one(any_case: Bench) -> None:
    caller = await stranger(any_case)
    first = await any_case.accept()
    await any_case.until_tracked(first)
    [there] = await elsewhere(any_case, first)
    with pytest.raises(InvalidParameter, match=f"calls that job '{there}'"):
        await adopt(any_case, caller, there.swapcase())
    assert await adopt(any_case, caller, there) == await adopt(any_case, caller, there)


async def test_the_list_shows_no_job_of_another_project(bench: Bench) -> None:
    """Also when a whole page is another's, and when retention has removed their record since."""
    caller, other = await stranger(bench), await stranger(bench)
    other = other.model_copy(update={"project": "other"})
    first = await bench.accept()
    await bench.until_tracked(first)  # of project p, with our mark
    old, theirs, gone, free = await elsewhere(bench, first, count=4)
    mine = await adopt(bench, caller, old)
    await adopt(bench, other, theirs)
    removed = await bench.read(await adopt(bench, other, gone))
    assert await bench.ctx.store.deletion.delete_job(removed)

    async def _listed(project: str) -> dict[str, str | None]:
        found, more = await import_list.page(bench.ctx, project, upstream="openai", after=None)
        assert more is None
        assert not any(row.why_not for row in found)
        return {row.seen.id: row.job.id if row.job else None for row in found}

    assert await _listed(caller.project) == {old: mine, free: None}
    assert (await _listed("other")).keys() == {theirs, gone, free}
    assert (await _listed("p")).keys() == {(await bench.read(first)).job.upstream_job_id, free}
    with pytest.raises(InvalidParameter, match="after"):
        await import_list.page(bench.ctx, "p", upstream="openai", after="../files")


async def test_jobs_behind_many_of_another_project_are_listed_too(bench: Bench) -> None:
    """Each request reads few pages, and no cursor tells an id of the other project."""
    upstream = OneAPage("openai", UpstreamSettings(base_url=bench.simulator.base_url, api_key=SecretStr("sk-x")))
    first = await bench.accept()
    await bench.until_tracked(first)
    free, *theirs = await elsewhere(bench, first, count=7)
    for there in theirs:
        await adopt(bench, await stranger(bench), there)
    ctx = replace(bench.ctx, upstreams={"openai": upstream})
    listed, after, requests = [], None, 0
    while requests == 0 or after:
        before = upstream.read
        found, after = await import_list.page(ctx, "p", upstream="openai", after=after, most_pages=2)
        assert upstream.read - before <= 2
        assert not any(there in (after or "") for there in theirs)
        listed += [row.seen.id for row in found]
        requests += 1
    assert listed[0] == free
    assert requests >= 4
    with pytest.raises(InvalidParameter, match="after"):
        await import_list.page(ctx, "p", upstream="openai", after="sealed-none")
    await upstream.close()


async def test_an_upstream_that_is_spelled_wrong_is_named_with_the_nearest(bench: Bench) -> None:
    """The command `tunehook import` lists first: it said "An unexpected error occurred"."""
    caller = ApiKey(id="k", project="p", name="n", created_at=1, secret_sha256="", callback_secret="")
    with pytest.raises(UnknownUpstream, match=r"there is no upstream 'opnai'.*openai"):
        await import_list.page(bench.ctx, "p", upstream="opnai", after=None)
    with pytest.raises(UnknownUpstream, match=r"there is no upstream 'opnai'.*openai"):
        await imports.import_job(
            bench.ctx, caller, upstream="opnai", upstream_job_id="ftjob-1", callback_url=None, keep_dataset=True
        )
