"""Bytes that no record names go after a day; whatever a record names, or an upload still needs, stays."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.dataset.lines import good, jsonl
from tests.neighbours.valkey import Valkey
from tunehook import inspection, intake, retention
from tunehook.allow_list import AllowList
from tunehook.model import File, Upload, new_id
from tunehook.shelf import Shelf
from tunehook.store import Store, keys
from tunehook.vault import Vault
from tunehook.world import Keep, World

PROJECT = "acme"
#: As if a day had passed: what was there a moment ago is old.
A_DAY_LATER = Keep(orphans=-1.0)


@pytest.fixture
async def world(valkey: Valkey, tmp_path: Path) -> AsyncIterator[World]:
    store = Store.connect(valkey.url)
    world = World(store=store, shelf=Shelf(tmp_path), vault=Vault(None), upstreams={}, allow=AllowList.parse(""))
    yield world
    await asyncio.gather(world.reader.close(), world.costing.close(), store.close())


async def written(world: World) -> File:
    """What is on the shelf when a process is killed before it has written the record."""
    incoming = world.shelf.receive(inspection.Inspector(world, "tests"))
    await incoming.open()
    await incoming.write(jsonl(*(good(n) for n in range(10))))
    file, _ = await inspection.keep(world, incoming, project=PROJECT, filename="a.jsonl", seconds=None)
    await incoming.close()
    return file


async def begun(world: World) -> tuple[Upload, str]:
    """An upload with one part."""
    upload = await intake.begin(world, PROJECT, filename="a", purpose="fine-tune", size=10, expires_after=None)
    incoming = world.shelf.parts(upload.id).receive()
    await incoming.open()
    await incoming.write(b"12345")
    part = await intake.keep_part(world, upload, incoming)
    await incoming.close()
    return upload, part


async def names(world: World) -> set[str]:
    """Every file below the data directory, but for the mark."""
    root = world.shelf.directory.parent
    found = await asyncio.to_thread(lambda: {path.name for path in root.rglob("*") if path.is_file()})
    return found - {world.shelf.mark_path.name}


async def test_a_file_whose_record_was_never_written_goes_with_its_report(world: World) -> None:
    kept, lost = await written(world), await written(world)
    await inspection.enter(world, kept)
    await retention.sweep(world)
    assert {kept.id, lost.id, f"{lost.id}.json", f"{lost.id}.digests"} < await names(world), "it is not a day old"
    await retention.sweep(replace(world, keep=A_DAY_LATER))
    assert await names(world) == {kept.id, f"{kept.id}.json", f"{kept.id}.digests"}


async def test_a_report_alone_goes_too(world: World) -> None:
    lost = await written(world)
    await asyncio.to_thread(world.shelf.path(lost.id).unlink)
    await retention.sweep(replace(world, keep=A_DAY_LATER))
    assert await names(world) == set()


async def test_parts_of_an_upload_stay_while_it_can_be_completed(world: World) -> None:
    """The other one's hour was over, and its parts were cleared away, while a last part of it was being written."""
    (going_on, part), (over, late) = await begun(world), await begun(world)
    await world.store.uploads.cleared(over.id)
    await retention.sweep(world)
    assert await names(world) == {part, late}
    await retention.sweep(replace(world, keep=A_DAY_LATER))
    assert await names(world) == {part}
    assert (await world.store.uploads.read(going_on.id, PROJECT)).upload.shown_status(time.time()) == "pending"


async def test_what_is_not_ours_is_left_alone(world: World) -> None:
    await written(world)
    note = world.shelf.directory / "README"
    await asyncio.to_thread(note.write_text, "Backed up nightly.")
    await retention.sweep(replace(world, keep=A_DAY_LATER))
    assert await names(world) == {"README"}


async def test_another_redis_removes_nothing(world: World, valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """REDIS_URL names a wrong one, or the right one has come back empty: every file is unknown there."""
    file = await written(world)
    await inspection.enter(world, file)
    await retention.sweep(world)
    valkey.flush()
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            await retention.sweep(replace(world, keep=A_DAY_LATER))
    assert await world.shelf.exists(file.id)
    assert "Is REDIS_URL right?" in caplog.text
    await asyncio.to_thread(world.shelf.mark_path.unlink)  # as the warning says
    await retention.sweep(world)
    assert await world.shelf.exists(file.id), "there is a day to see the mistake"
    await retention.sweep(replace(world, keep=A_DAY_LATER))
    assert not await world.shelf.exists(file.id)


async def lain(path: Path) -> Keep:
    """When it has lain there for so long that it may go. The kernel keeps that time, and lets nobody set it back."""
    keep = Keep(orphans=0.3)
    since = (await asyncio.to_thread(path.stat)).st_ctime
    await asyncio.sleep(max(0.0, since + keep.orphans - time.time()) + 0.02)
    return keep


async def test_a_directory_that_was_just_joined_to_a_store_is_left_alone_for_a_day(world: World) -> None:
    """However old what lies in it is."""
    file_id = new_id("file-")
    await world.shelf.save(file_id, b"from long ago")
    keep = await lain(world.shelf.path(file_id))
    await retention.sweep(replace(world, keep=keep))
    assert await world.shelf.exists(file_id)


async def missed_for_a_day(world: World, file_id: str) -> None:
    """As if this store had seen it unknown for a day; it is an error if it has not seen it so at all."""
    assert await world.store.redis.zadd(keys.UNKNOWN, {file_id: 1}, xx=True, ch=True) == 1


async def test_a_redis_that_was_restored_from_an_older_copy_has_to_miss_a_file_for_a_day(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It bears the same mark as the directory, and knows nothing of what came after that copy."""
    file = await written(world)
    await inspection.enter(world, file)
    await retention.sweep(world)  # the mark is as old as the file
    keep = await lain(world.shelf.path(file.id))
    late = replace(world, keep=keep)
    record = await world.store.redis.dump(keys.file(file.id))
    await world.store.redis.delete(keys.file(file.id))
    for _ in range(3):
        await retention.sweep(late)
        assert await world.shelf.exists(file.id)
    assert caplog.text.count("restored from an older copy") == 1, "it is said once"

    await world.store.redis.restore(keys.file(file.id), 0, record)  # in time, the right copy is restored
    await missed_for_a_day(world, file.id)
    await retention.sweep(late)
    assert await world.shelf.exists(file.id)
    assert await world.store.redis.zcard(keys.UNKNOWN) == 0, "what is known is not missed"

    await world.store.redis.delete(keys.file(file.id))
    await retention.sweep(late)
    assert await world.shelf.exists(file.id), "a day begins with each time that it is missed"
    await missed_for_a_day(world, file.id)
    await retention.sweep(late)
    assert not await world.shelf.exists(file.id)


async def test_the_parts_of_an_upload_are_missed_for_a_day_too(world: World) -> None:
    upload, part = await begun(world)
    await world.store.uploads.cleared(upload.id)
    parts = world.shelf.parts(upload.id)
    late = replace(world, keep=await lain(parts.directory))
    await retention.sweep(late)
    assert await parts.exists(part)
    await missed_for_a_day(world, upload.id)
    await retention.sweep(late)
    assert not await parts.exists(part)
