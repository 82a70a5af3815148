"""Bytes that no record names go after a day; whatever a record names, or an upload still needs, stays."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.context import opened_context
from tests.fakes.valkey import Valkey
from tests.unit.dataset.lines import good, jsonl
from tunehook.context import Context, RetentionPeriods
from tunehook.files import ingest, uploads
from tunehook.maintenance import retention
from tunehook.model.file import File, Upload
from tunehook.model.record import new_id
from tunehook.store.engine import keys

PROJECT = "acme"
#: As if a day had passed: what was there a moment ago is old.
A_DAY_LATER = RetentionPeriods(orphans=-1.0)


@pytest.fixture
async def ctx(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Context]:
    async with opened_context(valkey.url, tmp_path, secret_key=None) as ctx:
        yield ctx


async def written(ctx: Context) -> File:
    """What is on the shelf when a process is killed before it has written the record."""
    async with ingest.receiving(ctx.files) as incoming:
        await incoming.write(jsonl(*(good(n) for n in range(10))))
        return await ingest.keep(ctx.files, incoming, project=PROJECT, filename="a.jsonl", seconds=None)


async def begun(ctx: Context) -> tuple[Upload, str]:
    """An upload with one part."""
    upload = await uploads.begin(ctx.files, PROJECT, filename="a", purpose="fine-tune", size=10, expires_after=None)
    incoming = ctx.files.storage.parts(upload.id).receive()
    await incoming.open()
    await incoming.write(b"12345")
    part = await uploads.keep_part(ctx.files, upload, incoming)
    await incoming.close()
    return upload, part


async def names(ctx: Context) -> set[str]:
    """Every file below the data directory, but for the mark."""
    root = ctx.files.storage.directory.parent
    found = await asyncio.to_thread(lambda: {path.name for path in root.rglob("*") if path.is_file()})
    return found - {ctx.files.storage.mark_path.name}


async def test_a_file_whose_record_was_never_written_goes_with_its_report(ctx: Context) -> None:
    kept, lost = await written(ctx), await written(ctx)
    await ingest.record(ctx.files, kept)
    await retention.sweep(ctx)
    assert {kept.id, lost.id, f"{lost.id}.json", f"{lost.id}.digests"} < await names(ctx), "it is not a day old"
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await names(ctx) == {kept.id, f"{kept.id}.json", f"{kept.id}.digests"}


async def test_a_report_alone_goes_too(ctx: Context) -> None:
    lost = await written(ctx)
    await asyncio.to_thread(ctx.files.storage.path(lost.id).unlink)
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await names(ctx) == set()


async def test_parts_of_an_upload_stay_while_it_can_be_completed(ctx: Context) -> None:
    """The other one's hour was over, and its parts were cleared away, while a last part of it was being written."""
    (going_on, part), (over, late) = await begun(ctx), await begun(ctx)
    await ctx.store.uploads.cleared(over.id)
    await retention.sweep(ctx)
    assert await names(ctx) == {part, late}
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await names(ctx) == {part}
    assert (await ctx.store.uploads.read(going_on.id, PROJECT)).upload.shown_status(time.time()) == "pending"


async def test_what_is_not_ours_is_left_alone(ctx: Context) -> None:
    await written(ctx)
    note = ctx.files.storage.directory / "README"
    await asyncio.to_thread(note.write_text, "Backed up nightly.")
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await names(ctx) == {"README"}


async def test_another_redis_removes_nothing(ctx: Context, valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """REDIS_URL names a wrong one, or the right one has come back empty: every file is unknown there."""
    file = await written(ctx)
    await ingest.record(ctx.files, file)
    await retention.sweep(ctx)
    valkey.flush()
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await ctx.files.storage.exists(file.id)
    assert "Is REDIS_URL right?" in caplog.text
    await asyncio.to_thread(ctx.files.storage.mark_path.unlink)  # as the warning says
    await retention.sweep(ctx)
    assert await ctx.files.storage.exists(file.id), "there is a day to see the mistake"
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert not await ctx.files.storage.exists(file.id)


async def lain(path: Path) -> RetentionPeriods:
    """When it has lain there for so long that it may go. The kernel keeps that time, and lets nobody set it back."""
    keep = RetentionPeriods(orphans=0.3)
    since = (await asyncio.to_thread(path.stat)).st_ctime
    await asyncio.sleep(max(0.0, since + keep.orphans - time.time()) + 0.02)
    return keep


async def test_a_directory_that_was_just_joined_to_a_store_is_left_alone_for_a_day(ctx: Context) -> None:
    """However old what lies in it is."""
    file_id = new_id("file-")
    await ctx.files.storage.save(file_id, b"from long ago")
    keep = await lain(ctx.files.storage.path(file_id))
    await retention.sweep(replace(ctx, keep=keep))
    assert await ctx.files.storage.exists(file_id)


async def missed_for_a_day(ctx: Context, file_id: str) -> None:
    """As if this store had seen it unknown for a day; it is an error if it has not seen it so at all."""
    assert await ctx.store.redis.zadd(keys.UNKNOWN, {file_id: 1}, xx=True, ch=True) == 1


async def test_a_redis_that_was_restored_from_an_older_copy_has_to_miss_a_file_for_a_day(
    ctx: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """It bears the same mark as the directory, and knows nothing of what came after that copy."""
    file = await written(ctx)
    await ingest.record(ctx.files, file)
    await retention.sweep(ctx)  # the mark is as old as the file
    keep = await lain(ctx.files.storage.path(file.id))
    late = replace(ctx, keep=keep)
    record = await ctx.store.redis.dump(keys.file(file.id))
    await ctx.store.redis.delete(keys.file(file.id))
    for _ in range(3):
        await retention.sweep(late)
        assert await ctx.files.storage.exists(file.id)
    assert caplog.text.count("restored from an older copy") == 1, "it is said once"

    await ctx.store.redis.restore(keys.file(file.id), 0, record)  # in time, the right copy is restored
    await missed_for_a_day(ctx, file.id)
    await retention.sweep(late)
    assert await ctx.files.storage.exists(file.id)
    assert await ctx.store.redis.zcard(keys.UNKNOWN) == 0, "what is known is not missed"

    await ctx.store.redis.delete(keys.file(file.id))
    await retention.sweep(late)
    assert await ctx.files.storage.exists(file.id), "a day begins with each time that it is missed"
    await missed_for_a_day(ctx, file.id)
    await retention.sweep(late)
    assert not await ctx.files.storage.exists(file.id)


async def test_the_parts_of_an_upload_are_missed_for_a_day_too(ctx: Context) -> None:
    upload, part = await begun(ctx)
    await ctx.store.uploads.cleared(upload.id)
    parts = ctx.files.storage.parts(upload.id)
    late = replace(ctx, keep=await lain(parts.directory))
    await retention.sweep(late)
    assert await parts.exists(part)
    await missed_for_a_day(ctx, upload.id)
    await retention.sweep(late)
    assert not await parts.exists(part)
