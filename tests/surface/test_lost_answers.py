"""Redis has carried a commit out and its answer is lost: what was stored is all there when the call is repeated."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dataset.lines import good, jsonl
from tests.neighbours.redis_between import redis_between
from tests.neighbours.valkey import Valkey
from tunehook import inspection, intake
from tunehook.allow_list import AllowList
from tunehook.errors import Conflict, StoreUnavailable
from tunehook.model import File
from tunehook.shelf import Shelf
from tunehook.store import Store
from tunehook.store.connection import SCRIPTS
from tunehook.vault import Vault
from tunehook.world import World

PROJECT = "acme"
CONTENT = jsonl(*(good(n) for n in range(12)))


@dataclass
class Line:
    """Between us and Redis; loses the answers to the next `lost` commits of a record whose key begins with `key`."""

    key: bytes = b""
    lost: int = 0

    async def after(self, commands: list[list[bytes]]) -> None:
        for words in commands:
            name = words[3] if words[0].upper() in (b"EVALSHA", b"EVAL") and len(words) > 3 else b""
            if self.lost and name.startswith(self.key):
                self.lost -= 1
                raise ConnectionResetError


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def world(line: Line, valkey: Valkey, tmp_path: Path) -> AsyncIterator[World]:
    async with redis_between(valkey.url, tmp_path, after=line.after) as url:
        store = Store.connect(url)
        world = World(store=store, shelf=Shelf(tmp_path), vault=Vault(None), upstreams={}, allow=AllowList.parse(""))
        await store.redis.script_load(SCRIPTS["commit"])  # so that no answer that is lost is a "what script?"
        yield world
        await asyncio.gather(world.reader.close(), world.costing.close(), store.close())


async def content(world: World, file: File) -> bytes:
    return await asyncio.to_thread(world.shelf.path(file.id).read_bytes)


async def begun(world: World) -> tuple[str, str]:
    upload = await intake.begin(
        world, PROJECT, filename="a", purpose="fine-tune", size=len(CONTENT), expires_after=None
    )
    incoming = world.shelf.parts(upload.id).receive()
    await incoming.open()
    await incoming.write(CONTENT)
    part_id = await intake.keep_part(world, upload, incoming)
    await incoming.close()
    return upload.id, part_id


async def test_an_upload_that_was_completed_without_an_answer_is_whole_at_the_repeat(line: Line, world: World) -> None:
    upload_id, part_id = await begun(world)
    line.key, line.lost = b"th:upload:", 1
    with pytest.raises(StoreUnavailable):
        await intake.complete(world, upload_id, PROJECT, [part_id], None)
    assert line.lost == 0, "no answer was lost"
    upload, file = await intake.complete(world, upload_id, PROJECT, [part_id], None)
    assert upload.status == "completed"
    assert await content(world, file) == CONTENT


async def test_an_upload_that_somebody_cancels_meanwhile_leaves_no_bytes(world: World) -> None:
    upload_id, part_id = await begun(world)
    record = await world.store.uploads.read(upload_id, PROJECT)
    incoming = world.shelf.receive(inspection.Inspector(world, "tests"))
    await incoming.open()
    await world.store.commit(record.change(record.upload.model_copy(update={"expires_after": 3600})))
    with pytest.raises(Conflict):  # what was read is old
        await intake._join(world, record, [part_id], None, incoming)
    await incoming.close()
    assert not await asyncio.to_thread(lambda: list(world.shelf.directory.iterdir()))


async def test_a_file_that_was_entered_without_an_answer_keeps_its_bytes(line: Line, world: World) -> None:
    line.key, line.lost = b"th:file:", 1
    incoming = world.shelf.receive(inspection.Inspector(world, "tests"))
    await incoming.open()
    await incoming.write(CONTENT)
    file, _ = await inspection.keep(world, incoming, project=PROJECT, filename="a", seconds=None)
    with pytest.raises(StoreUnavailable):
        await inspection.enter(world, file)
    await incoming.close()
    assert line.lost == 0, "no answer was lost"
    assert await world.store.files.read(file.id, PROJECT) == file
    assert await content(world, file) == CONTENT
    with pytest.raises(Conflict):  # it is there already: refused for certain, so nothing of it stays
        await inspection.enter(world, file)
    assert not await world.shelf.exists(file.id)
