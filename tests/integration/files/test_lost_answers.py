"""Redis has carried a commit out and its answer is lost: what was stored is all there when the call is repeated."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.context import opened_context
from tests.fakes.redis_between import redis_between
from tests.fakes.stored import data_dir, path_of
from tests.fakes.valkey import Valkey
from tests.unit.dataset.lines import good, jsonl
from tunehook.context import Context
from tunehook.errors import Conflict, StoreUnavailable
from tunehook.files import ingest, uploads
from tunehook.maintenance import retention
from tunehook.model.file import File
from tunehook.model.record import new_id
from tunehook.store.engine import keys
from tunehook.store.engine.scripts import SCRIPTS

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
async def ctx(line: Line, valkey: Valkey, tmp_path: Path) -> AsyncIterator[Context]:
    async with (
        redis_between(valkey.url, tmp_path, after=line.after) as url,
        opened_context(url, tmp_path, secret_key=None) as ctx,
    ):
        await ctx.store.redis.script_load(SCRIPTS["commit"])  # so that no answer that is lost is a "what script?"
        yield ctx


async def content(ctx: Context, file: File) -> bytes:
    return await asyncio.to_thread(path_of(ctx.files.storage, file.id).read_bytes)


async def begun(ctx: Context) -> tuple[str, str]:
    upload = await uploads.begin(
        ctx.files, PROJECT, filename="a", purpose="fine-tune", size=len(CONTENT), expires_after=None
    )
    incoming = ctx.files.storage.parts(upload.id).receive(new_id("part_"))
    await incoming.open()
    await incoming.write(CONTENT)
    part_id = await uploads.keep_part(ctx.files, upload, incoming)
    await incoming.close()
    return upload.id, part_id


async def test_an_upload_that_was_completed_without_an_answer_is_whole_at_the_repeat(line: Line, ctx: Context) -> None:
    upload_id, part_id = await begun(ctx)
    line.key, line.lost = b"th:upload:", 1
    with pytest.raises(StoreUnavailable):
        await uploads.complete(ctx.files, upload_id, PROJECT, [part_id], None)
    assert line.lost == 0, "no answer was lost"
    upload, file = await uploads.complete(ctx.files, upload_id, PROJECT, [part_id], None)
    assert upload.status == "completed"
    assert await content(ctx, file) == CONTENT


async def left_an_hour_later(ctx: Context) -> list[str]:
    """Names of the files that a sweep leaves."""
    for file_id in await ctx.store.redis.zrange(keys.LEAVING, 0, -1):
        await ctx.store.redis.zadd(keys.LEAVING, {file_id: 1})
    await retention.sweep(ctx)
    return await asyncio.to_thread(lambda: [path.name for path in (data_dir(ctx.files.storage) / "files").iterdir()])


async def test_an_upload_that_somebody_cancels_meanwhile_leaves_no_bytes(ctx: Context) -> None:
    upload_id, part_id = await begun(ctx)
    record = await ctx.store.uploads.read(upload_id, PROJECT)
    incoming = ctx.files.storage.receive(new_id("file-"))
    await incoming.open()
    await ctx.store.commit(record.change(record.upload.model_copy(update={"expires_after": 3600})))
    with pytest.raises(Conflict):  # what was read is old
        await uploads._join(ctx.files, record, [part_id], None, incoming)
    await incoming.close()
    assert await left_an_hour_later(ctx) == []


async def test_a_file_that_was_entered_without_an_answer_keeps_its_bytes(line: Line, ctx: Context) -> None:
    line.key, line.lost = b"th:file:", 1
    incoming = ctx.files.storage.receive(new_id("file-"))
    await incoming.open()
    await incoming.write(CONTENT)
    file = await ingest.keep(ctx.files, incoming, project=PROJECT, filename="a", seconds=None)
    with pytest.raises(StoreUnavailable):
        await ctx.store.files.add(file)
    await incoming.close()
    assert line.lost == 0, "no answer was lost"
    assert await ctx.store.files.read(file.id, PROJECT) == file
    assert await content(ctx, file) == CONTENT
    with pytest.raises(Conflict):  # it is there already
        await ctx.store.files.add(file)
    assert await left_an_hour_later(ctx) == [file.id]
