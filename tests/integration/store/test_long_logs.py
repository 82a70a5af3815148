"""A job's log stays small, however large its dataset is and however much its upstream has to say."""

import os
from dataclasses import replace

import pytest
from aiohttp import web

from tests.fakes.stored import path_of
from tests.fakes.strange_upstream import strange_upstream
from tests.integration.conftest import Bench
from tunehook.jobs import copy_step, lifecycle
from tunehook.jobs.copy_transfer import LOGGED_TIMES, PART_BYTES
from tunehook.model.job import Message
from tunehook.store.engine import keys
from tunehook.store.engine.commit import LOG_KEPT

#: Redis drops whole blocks of a stream, which have a hundred lines.
A_BLOCK = 100


def said(numbers: range) -> list[Message]:
    return [Message(created_at=n, message=f"Step {n}", upstream_event_id=f"ftevent-{n}") for n in numbers]


@pytest.mark.parametrize("parts", [LOGGED_TIMES + 9, 13])
async def test_an_upload_says_at_most_twenty_times_how_far_it_is(bench: Bench, parts: int) -> None:
    """A part has 8 MiB, so a file of 8 GB has a thousand."""
    size = parts * PART_BYTES - 1
    file = (await bench.file()).model_copy(update={"bytes": size})
    os.truncate(path_of(bench.ctx.files.storage, file.id), size)
    job_id = await bench.accept(file)
    await lifecycle.advance(bench.ctx, job_id)
    taken = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal taken
        taken += 1
        return web.json_response({"id": f"part_{taken}"})

    async with strange_upstream() as strange:
        strange.answers = {
            "POST /uploads": {"id": "upload_1"},
            "POST /uploads/upload_1/parts": take,
            "POST /uploads/upload_1/complete": {"id": "upload_1", "file": {"id": "file-there"}},
        }
        ctx = replace(bench.ctx, upstreams={"openai": strange.upstream})
        await copy_step.copy_to_upstream(ctx, "openai", file.sha256)
    assert taken == parts
    entries, _ = await bench.ctx.store.job_log.page(job_id, after=None, limit=100)
    lines = [entry.message for entry in reversed(entries) if entry.message.message.startswith("Uploaded")]
    assert len(lines) == min(parts, LOGGED_TIMES)
    assert lines[-1].data == {"bytes_sent": size, "bytes_total": size}


async def test_of_a_long_log_the_newest_lines_stay(bench: Bench) -> None:
    log, redis = bench.ctx.store.job_log, bench.ctx.store.redis
    for start in range(0, LOG_KEPT + 500, 500):
        assert await log.append("ftjob-1", said(range(start, start + 500))) == 500
    assert LOG_KEPT <= await redis.xlen(keys.job_log("ftjob-1")) <= LOG_KEPT + A_BLOCK
    newest, _ = await log.page("ftjob-1", after=None, limit=1)
    assert newest[0].message.message == f"Step {LOG_KEPT + 499}"
    oldest = (await log.after("ftjob-1", "0-0", 1))[0]
    assert 500 - A_BLOCK <= oldest.message.created_at <= 500


async def test_what_left_the_log_is_not_remembered_for_ever_and_what_is_in_it_is(bench: Bench) -> None:
    log, redis = bench.ctx.store.job_log, bench.ctx.store.redis
    last = 2 * LOG_KEPT + 1000
    for start in range(0, last, 500):
        await log.append("ftjob-1", said(range(start, start + 500)))
        assert await redis.scard(keys.job_log_seen("ftjob-1")) <= 4 * LOG_KEPT
    assert await log.append("ftjob-1", said(range(last - LOG_KEPT, last))) == 0, "each once"
    assert not await log.reaches_known("ftjob-1", said(range(0, 100)))


async def test_our_own_lines_count_too(bench: Bench) -> None:
    job_id, store = await bench.accept(), bench.ctx.store
    async with store.redis.pipeline() as pipe:
        for message in said(range(LOG_KEPT + 1000)):
            pipe.xadd(keys.job_log(job_id), {"doc": message.model_dump_json()})
        await pipe.execute()
    record = await bench.read(job_id)
    await store.commit(record.change(record.job).say(job_id, Message(created_at=1, message="Ours")))
    assert await store.redis.xlen(keys.job_log(job_id)) <= LOG_KEPT + A_BLOCK
    entries, _ = await store.job_log.page(job_id, after=None, limit=1)
    assert entries[0].message.message == "Ours"
