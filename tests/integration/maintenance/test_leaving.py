"""Bytes without a record: a killed process's are swept an hour later; those left by a restore, by `doctor` alone."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.context import opened_context
from tests.fakes.stored import data_dir, path_of
from tests.fakes.valkey import Valkey
from tests.integration.store.test_doctor import doctor as run_doctor
from tests.unit.dataset.lines import good, jsonl
from tunehook.context import Context, RetentionPeriods
from tunehook.files import ingest, uploads
from tunehook.files.place import MARK
from tunehook.maintenance import retention
from tunehook.model.file import File, Upload
from tunehook.model.record import new_id
from tunehook.store import upgrade
from tunehook.store.engine import keys

PROJECT = "acme"
#: As if a day had passed: what was there a moment ago is old.
A_DAY_LATER = RetentionPeriods(half_received=-1.0)


@pytest.fixture
async def ctx(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Context]:
    async with opened_context(valkey.url, tmp_path, secret_key=None) as ctx:
        yield ctx


async def written(ctx: Context) -> File:
    """What is on the shelf when a process is killed before it has written the record."""
    async with ingest.receiving(ctx.files.storage) as incoming:
        await incoming.write(jsonl(*(good(n) for n in range(10))))
        return await ingest.keep(ctx.files, incoming, project=PROJECT, filename="a.jsonl", seconds=None)


async def begun(ctx: Context) -> tuple[Upload, str]:
    """An upload with one part."""
    upload = await uploads.begin(ctx.files, PROJECT, filename="a", purpose="fine-tune", size=10, expires_after=None)
    incoming = ctx.files.storage.parts(upload.id).receive(new_id("part_"))
    await incoming.open()
    await incoming.write(b"12345")
    part = await uploads.keep_part(ctx.files, upload, incoming)
    await incoming.close()
    return upload, part


async def names(ctx: Context) -> set[str]:
    """Every file below the data directory, but for the mark."""
    root = data_dir(ctx.files.storage)
    found = await asyncio.to_thread(lambda: {path.name for path in root.rglob("*") if path.is_file()})
    return found - {MARK}


async def an_hour_passes(ctx: Context) -> None:
    for file_id in await ctx.store.redis.zrange(keys.LEAVING, 0, -1):
        await ctx.store.redis.zincrby(keys.LEAVING, -3_600_001, file_id)


async def test_a_file_whose_record_was_never_written_goes_with_its_report(ctx: Context) -> None:
    kept, lost = await written(ctx), await written(ctx)
    await ctx.store.files.add(kept)
    await retention.sweep(ctx)
    assert {kept.id, lost.id, f"{lost.id}.json", f"{lost.id}.digests"} < await names(ctx), "no hour has passed"
    await an_hour_passes(ctx)
    await retention.sweep(ctx)
    assert await names(ctx) == {kept.id, f"{kept.id}.json", f"{kept.id}.digests"}
    assert await ctx.store.redis.exists(keys.LEAVING) == 0


async def test_a_large_file_without_a_record_goes_too(ctx: Context) -> None:
    lost = await written(replace(ctx, files=replace(ctx.files, checked_at_once=10)))
    assert lost.status == "uploaded"
    assert await names(ctx) == {lost.id}
    await an_hour_passes(ctx)
    await retention.sweep(ctx)
    assert await names(ctx) == set()


async def test_a_report_alone_goes_too(ctx: Context) -> None:
    lost = await written(ctx)
    await asyncio.to_thread(path_of(ctx.files.storage, lost.id).unlink)
    await an_hour_passes(ctx)
    await retention.sweep(ctx)
    assert await names(ctx) == set()


async def test_bytes_that_a_record_names_stay_whatever_is_noted_of_them(ctx: Context) -> None:
    file = await written(ctx)
    await ctx.store.files.add(file)
    assert await ctx.store.redis.exists(keys.LEAVING) == 0, "the commit of the record takes it off the note"
    await ctx.store.redis.zadd(keys.LEAVING, {file.id: 1})
    await retention.sweep(ctx)
    assert await ctx.files.storage.exists(file.id)
    assert await ctx.store.redis.exists(keys.LEAVING) == 0


async def test_a_deleted_file_whose_process_was_killed_goes_at_the_next_sweep(ctx: Context) -> None:
    file = await written(ctx)
    await ctx.store.files.add(file)
    await ctx.store.files.delete(file.id, PROJECT)
    await retention.sweep(ctx)
    assert await names(ctx) == set()


async def test_deleted_files_that_version_0_1_noted_are_carried_over(ctx: Context) -> None:
    """Two programs start at the same time."""
    file = await written(ctx)
    await ctx.store.redis.delete(keys.LEAVING)
    await ctx.store.redis.sadd(keys.LEAVING, file.id)
    await asyncio.gather(*(upgrade.leaving_to_zset(ctx.store) for _ in range(2)))
    assert await ctx.store.redis.zrange(keys.LEAVING, 0, -1, withscores=True) == [(file.id, 0)]
    await upgrade.leaving_to_zset(ctx.store)
    await retention.sweep(ctx)
    assert await names(ctx) == set()


async def test_parts_of_an_upload_stay_while_it_can_be_completed(ctx: Context) -> None:
    """The other one's hour was over, and its parts were cleared away, while a last part of it was being written."""
    (going_on, part), (over, late) = await begun(ctx), await begun(ctx)
    await ctx.store.uploads.cleared(over.id)
    await retention.sweep(ctx)
    assert await names(ctx) == {part, late}
    directory = data_dir(ctx.files.storage) / "uploads" / over.id
    await asyncio.to_thread(os.utime, directory, (1, 1))
    await retention.sweep(ctx)
    assert await names(ctx) == {part}
    assert not await asyncio.to_thread(directory.exists)
    assert (await ctx.store.uploads.read(going_on.id, PROJECT)).upload.shown_status(time.time()) == "pending"


async def test_what_is_not_ours_is_left_alone(ctx: Context) -> None:
    lost = await written(ctx)
    for directory in ("files", "uploads"):
        note = data_dir(ctx.files.storage) / directory / "README"
        await asyncio.to_thread(note.parent.mkdir, exist_ok=True)
        await asyncio.to_thread(note.write_text, "Backed up nightly.")
    await an_hour_passes(ctx)
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await names(ctx) == {"README"}
    assert not await ctx.files.storage.exists(lost.id)


def doctor(valkey: Valkey, ctx: Context, *arguments: str) -> tuple[int, str]:
    return run_doctor(valkey, "--data-dir", str(data_dir(ctx.files.storage)), *arguments)


async def test_another_redis_removes_nothing(ctx: Context, valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """REDIS_URL names a wrong one, or the right one has come back empty: every file is unknown there."""
    file = await written(ctx)
    await ctx.store.files.add(file)
    await retention.sweep(ctx)
    valkey.flush()
    await ctx.store.redis.zadd(keys.LEAVING, {file.id: 1})
    with caplog.at_level(logging.WARNING):
        await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert file.id in await names(ctx)
    assert await ctx.store.redis.exists(keys.LEAVING) == 1
    assert "belongs to another Redis" in caplog.text
    status, text = await asyncio.to_thread(doctor, valkey, ctx, "--fix")
    assert (status, "belongs to another Redis" in text) == (1, True)
    await asyncio.to_thread((data_dir(ctx.files.storage) / MARK).unlink)  # it is this one's after all
    await retention.sweep(ctx)
    assert not await ctx.files.storage.exists(file.id)


async def test_files_that_a_restored_redis_does_not_know_go_only_when_a_person_asks(
    ctx: Context, valkey: Valkey
) -> None:
    """It bears the same mark as the directory, and knows nothing of what came after its backup was made."""
    known, unknown, arriving = await written(ctx), await written(ctx), await written(ctx)
    for file in (known, unknown):
        await ctx.store.files.add(file)
    await retention.sweep(ctx)
    await ctx.store.redis.delete(keys.file(unknown.id))
    await retention.sweep(replace(ctx, keep=A_DAY_LATER))
    assert await ctx.files.storage.exists(unknown.id)
    spool = data_dir(ctx.files.storage) / ".restore"
    await asyncio.to_thread(spool.mkdir)  # as a restore leaves it that was killed
    _, text = await asyncio.to_thread(doctor, valkey, ctx)
    assert unknown.id in text
    assert f"{spool}\n" in text
    assert "run the restore again, or delete the directory" in text
    assert "[mend with --fix]" in text
    assert known.id not in text
    assert arriving.id not in text
    assert await ctx.files.storage.exists(unknown.id)
    await asyncio.to_thread(doctor, valkey, ctx, "--fix")
    reports = {f"{file.id}.{suffix}" for file in (known, arriving) for suffix in ("json", "digests")}
    assert await names(ctx) == {known.id, arriving.id} | reports
