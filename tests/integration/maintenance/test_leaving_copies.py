"""A dataset's copy that retention has let go and could not delete yet is no new job's, though it has the same name."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from tests.fakes.strange_upstream import StrangeUpstream, strange_upstream
from tests.integration.conftest import Bench
from tunehook.context import Context, RetentionPeriods
from tunehook.jobs import copy_step, lifecycle
from tunehook.maintenance import retention
from tunehook.model.file import Copy, File
from tunehook.model.member import copy_member
from tunehook.store.copies import CopyRecord
from tunehook.store.engine import keys

NOW = RetentionPeriods(copies=0.0)


@pytest.fixture
async def strange() -> AsyncIterator[StrangeUpstream]:
    async with strange_upstream() as running:
        yield running


async def copy_of(bench: Bench, file: File) -> Copy:
    record = await bench.ctx.store.copies.read("openai", file.sha256)
    assert record is not None
    return record.copy


async def let_go(bench: Bench) -> tuple[File, str]:
    """A dataset whose copy has no record any more; the upstream was away when it was to be deleted there."""
    file = await bench.file()
    await bench.until_tracked(job_id := await bench.accept(file))
    await bench.ended(job_id)
    there = (await copy_of(bench, file)).upstream_file_id
    assert there
    await bench.simulator.fault("http_503", path="/files/", method="DELETE")
    await retention.sweep(replace(bench.ctx, keep=NOW))
    assert await bench.ctx.store.deletion.leaving_copies(10) == [("openai", there)]
    return file, there


async def deleted(bench: Bench) -> list[str]:
    asked = await bench.simulator.requests()
    gone = [seen for seen in asked if seen["method"] == "DELETE" and seen["status"] == 200]
    return [str(seen["path"]).rpartition("/")[2] for seen in gone]


async def test_a_copy_that_is_about_to_be_deleted_is_not_taken_for_an_earlier_try(bench: Bench) -> None:
    """The new job's first upload fails in the same bad hour, so its second looks for what the first may have made."""
    file, leaving = await let_go(bench)
    job_id = await bench.accept(file)
    await lifecycle.advance(bench.ctx, job_id)
    await bench.simulator.fault("http_503", path="/files$", method="POST")
    await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
    assert (await copy_of(bench, file)).attempts == 1
    job = (await bench.until_tracked(job_id)).job
    assert job.seen
    assert job.seen.training_file != leaving
    await retention.sweep(replace(bench.ctx, keep=NOW))
    assert await deleted(bench) == [leaving]


async def test_what_the_first_try_did_make_is_found_beside_it(bench: Bench) -> None:
    file, leaving = await let_go(bench)
    job_id = await bench.accept(file)
    await lifecycle.advance(bench.ctx, job_id)
    await bench.simulator.advance(60)
    await bench.simulator.fault("after_http_503", path="/files$", method="POST")
    for _ in range(2):
        await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
    copy = await copy_of(bench, file)
    assert copy.state == "ready"
    assert copy.upstream_file_id != leaving
    sent = [
        seen for seen in await bench.simulator.requests() if (seen["method"], seen["path"]) == ("POST", "/v1/files")
    ]
    assert len(sent) == 2  # the ended job's, and this one's, which is not sent twice


def at(strange: StrangeUpstream, bench: Bench) -> Context:
    return replace(bench.ctx, upstreams={"openai": strange.upstream}, keep=NOW)


async def test_parts_that_cannot_be_joined_are_not_taken_for_it_either(bench: Bench, strange: StrangeUpstream) -> None:
    file, leaving = await let_go(bench)
    large = file.model_copy(update={"bytes": copy_step.WHOLE_BYTES + 1})
    await lifecycle.advance(bench.ctx, await bench.accept(large))
    record = await bench.ctx.store.copies.read("openai", file.sha256)
    assert record is not None
    async with bench.ctx.store.lease(copy_member("openai", file.sha256)) as lease:
        sent = {"upload_id": "upload_there", "parts": ["part_1"], "bytes_sent": large.bytes}
        copy = record.copy.model_copy(update=sent)
        await bench.ctx.store.commit(CopyRecord(copy, record.revision).change(copy, lease))
    there = {"id": leaving, "filename": copy.filename, "bytes": copy.bytes, "status": "processed"}
    strange.answers["GET /files"] = {"object": "list", "data": [there], "has_more": False}
    await copy_step.copy_to_upstream(at(strange, bench), "openai", file.sha256)  # 404 to the joining: its hour is over
    again = await copy_of(bench, file)
    assert (again.state, again.upload_id) == ("wanted", None)


async def test_an_upstream_that_gives_the_same_bytes_the_same_id_keeps_the_file(
    bench: Bench, strange: StrangeUpstream
) -> None:
    file, leaving = await let_go(bench)
    await lifecycle.advance(bench.ctx, await bench.accept(file))
    strange.answers["POST /files"] = {"object": "file", "id": leaving}
    await copy_step.copy_to_upstream(at(strange, bench), "openai", file.sha256)
    assert (await copy_of(bench, file)).upstream_file_id == leaving
    await retention.sweep(at(strange, bench))
    assert not [asked for asked in strange.asked if asked.startswith("DELETE")]


async def test_what_is_needed_again_while_others_are_deleted_is_not(bench: Bench, strange: StrangeUpstream) -> None:
    """A sweep takes up to 200 at once, and each may take its upstream seconds."""
    redis, both = bench.ctx.store.redis, ("file-1", "file-2")
    await redis.sadd(keys.LEAVING_COPIES, *(f"openai {file_id}" for file_id in both))

    async def _other_comes_back(request: web.Request) -> web.StreamResponse:
        gone = request.path.rpartition("/")[2]
        (other,) = set(both) - {gone}
        await redis.srem(keys.LEAVING_COPIES, f"openai {other}")
        return web.json_response({"object": "file", "id": gone, "deleted": True})

    strange.answers |= {f"DELETE /files/{file_id}": _other_comes_back for file_id in both}
    await retention.sweep(at(strange, bench))
    assert len(strange.asked) == 1
