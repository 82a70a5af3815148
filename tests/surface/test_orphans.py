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
from tunehook.store import Store
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
    incoming = world.shelf.receive(inspection.Inspector(world.reader))
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


async def test_a_directory_that_was_just_joined_to_a_store_is_left_alone_for_a_day(world: World) -> None:
    """However old what lies in it is."""
    file_id = new_id("file-")
    await world.shelf.save(file_id, b"from long ago")
    old = 1.0
    while time.time() - (await asyncio.to_thread(world.shelf.path(file_id).stat)).st_ctime <= old:
        await asyncio.sleep(0.05)
    await retention.sweep(replace(world, keep=Keep(orphans=old)))
    assert await world.shelf.exists(file_id)
