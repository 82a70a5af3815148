"""A data directory in trouble is a wait, never a verdict: away, another's, full, read-only."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import stored
from tests.integration.conftest import Bench
from tunehook.errors import DataDirUnavailable
from tunehook.files import ingest, uploads
from tunehook.files.directory import Directory, refusals
from tunehook.files.storage import Storage
from tunehook.jobs import copy_step, cost, finishing, lifecycle
from tunehook.maintenance import retention
from tunehook.model.job import Stage
from tunehook.model.member import check_member, copy_member


@pytest.fixture
def data_dir(bench: Bench) -> Path:
    return stored.data_dir(bench.ctx.files.storage)


def away(data_dir: Path, how: str) -> None:
    """Moves the directory away; `how`: what is there instead."""
    data_dir.rename(data_dir.with_name("elsewhere"))
    if how != "nothing":
        data_dir.mkdir()
    if how == "of another Redis":
        (data_dir / ".store").write_text("another")


def back(data_dir: Path) -> None:
    left = [path.name for path in data_dir.rglob("*") if path.name != ".store"] if data_dir.exists() else []
    assert left == [], "nothing is made in a directory that is not ours"
    if data_dir.exists():
        (data_dir / ".store").unlink(missing_ok=True)
        data_dir.rmdir()
    data_dir.with_name("elsewhere").rename(data_dir)


@pytest.mark.parametrize("how", ["nothing", "an empty one", "of another Redis"])
async def test_jobs_wait_for_a_directory_that_is_away_and_go_on(bench: Bench, data_dir: Path, how: str) -> None:
    job_id = await bench.accept()
    file = (await bench.read(job_id)).job.training
    await asyncio.to_thread(away, data_dir, how)
    await lifecycle.advance(bench.ctx, job_id)
    for _ in range(25):  # 20 fruitless claims would park it
        await bench.ctx.store.claim("bulk", 100)
        await copy_step.copy_to_upstream(bench.ctx, "openai", file.sha256)
        await cost.estimate_accepted(bench.ctx, job_id)
    await lifecycle.advance(bench.ctx, job_id)
    job = (await bench.read(job_id)).job
    assert job.stage is Stage.WAITING
    assert job.waiting is not None
    assert job.waiting.code == "data_dir_unavailable"
    assert str(data_dir) not in job.waiting.reason  # clients read it
    assert "not mounted" in job.waiting.reason
    due = await bench.due_in(copy_member("openai", file.sha256))
    assert due is not None
    assert due <= 16
    await retention.sweep(bench.ctx)
    await asyncio.to_thread(back, data_dir)
    await bench.until_tracked(job_id)


async def test_a_file_that_is_missing_in_the_right_directory_is_a_verdict(bench: Bench) -> None:
    job_id = await bench.accept()
    job = (await bench.read(job_id)).job
    await bench.ctx.files.storage.remove(job.training.id)
    await lifecycle.advance(bench.ctx, job_id)
    await copy_step.copy_to_upstream(bench.ctx, "openai", job.training.sha256)
    await lifecycle.advance(bench.ctx, job_id)
    settled = (await bench.read(job_id)).job
    assert settled.error is not None
    assert (settled.status, settled.error.code) == ("failed", "file_missing")


@pytest.mark.parametrize("how", ["nothing", "an empty one", "of another Redis"])
async def test_nothing_is_said_of_files_in_a_directory_that_is_not_ours(bench: Bench, data_dir: Path, how: str) -> None:
    file, storage = await bench.file(), bench.ctx.files.storage
    upload = await uploads.begin(
        bench.ctx.files, "p", filename="x.jsonl", purpose="fine-tune", size=5, expires_after=None
    )
    await asyncio.to_thread(away, data_dir, how)
    for attempt in (
        storage.exists(file.id),
        storage.reports.read(file.id),
        storage.reports.digests(file.id),
        storage.file_ids(),
        storage.check_room(),
        storage.save("file-new", b"x"),
        storage.remove(file.id),
        storage.receive("file-new").open(),
        storage.parts(upload.id).receive("part_1").open(),
        uploads.begin(bench.ctx.files, "p", filename="x", purpose="fine-tune", size=5, expires_after=None),
    ):
        with pytest.raises(DataDirUnavailable, match="not mounted") as refused:
            await attempt
        assert "TUNEHOOK_DATA_DIR" in refused.value.detail
    await asyncio.to_thread(back, data_dir)
    assert await storage.exists(file.id)


async def test_a_check_waits_for_the_directory(bench: Bench, data_dir: Path) -> None:
    file = await bench.file()
    await bench.ctx.store.files.replace(file.model_copy(update={"status": "uploaded"}))
    await asyncio.to_thread(away, data_dir, "an empty one")
    await ingest.check_stored(bench.ctx.files, file.id)
    assert (await bench.ctx.store.files.read(file.id, "p")).status == "uploaded"
    due = await bench.due_in(check_member(file.id))
    assert due is not None
    assert due <= 16
    await asyncio.to_thread(back, data_dir)
    await ingest.check_stored(bench.ctx.files, file.id)
    assert (await bench.ctx.store.files.read(file.id, "p")).status == "processed"


async def test_results_wait_for_the_directory(bench: Bench, data_dir: Path) -> None:
    job_id = await bench.accept()
    await bench.until_tracked(job_id)
    record = await bench.ended(job_id)
    await asyncio.to_thread(away, data_dir, "nothing")
    with pytest.raises(DataDirUnavailable):
        await finishing.fetch_what_is_late(bench.ctx, record)
    await lifecycle.advance(bench.ctx, job_id)
    due = await bench.due_in(record.member)
    assert due is not None
    assert due <= 16
    await asyncio.to_thread(back, data_dir)
    await lifecycle.advance(bench.ctx, job_id)
    [result] = (await bench.read(job_id)).job.result_files.values()
    assert (await bench.ctx.store.files.read(result, "p")).status == "processed"


async def test_a_redis_adopts_one_directory_and_no_second(bench: Bench, data_dir: Path) -> None:
    await bench.file()
    mark, is_new = await bench.ctx.store.deletion.storage_mark()
    assert ((data_dir / ".store").read_text(), is_new) == (mark, False)
    await asyncio.to_thread(away, data_dir, "an empty one")
    bench.ctx.files.storage.forget_mark()
    with pytest.raises(DataDirUnavailable, match="not mounted"):
        await bench.ctx.files.storage.check_room()
    assert not (data_dir / ".store").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where this may be mounted."""
    directory = tmp_path / "small"
    directory.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tunehook-test {directory} 2>/dev/null") != 0:  # noqa: S605
        pytest.skip("a small disk cannot be mounted here")
    yield directory
    os.system(f"umount {directory}")  # noqa: S605


async def _names(directory: Path) -> list[str]:
    return await asyncio.to_thread(lambda: [path.name for path in directory.rglob("*") if path.is_file()])


async def test_a_full_or_read_only_disk_is_said_and_nothing_is_left_behind(bench: Bench, small_disk: Path) -> None:
    storage = Storage(Directory(small_disk), bench.ctx.store.deletion)
    with pytest.raises(DataDirUnavailable, match="no room for 2,065,536 bytes"):
        await storage.receive("file-new").open(2_000_000)
    with pytest.raises(DataDirUnavailable, match="No space left"):  # of a size that was not announced
        async with ingest.receiving(storage) as incoming:
            await incoming.write(b"x" * 2_000_000)
    assert await _names(small_disk) == [".store"]
    await storage.save("file-kept", b"x")
    os.system(f"mount -o remount,ro {small_disk}")  # noqa: ASYNC221, S605
    for attempt in (storage.save("file-new", b"x"), storage.check_room()):
        with pytest.raises(DataDirUnavailable, match="read-only"):
            await attempt
    with pytest.raises(DataDirUnavailable, match="Read-only"):
        await storage.remove("file-kept")
    assert await storage.exists("file-kept")
    os.system(f"mount -o remount,rw {small_disk}")  # noqa: ASYNC221, S605
    await storage.save("file-new", b"x")
    assert sorted(await _names(small_disk)) == [".store", "file-kept", "file-new"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EIO, errno.ESTALE])
def test_each_refusal_of_a_disk_is_said_in_its_words(number: int) -> None:
    with pytest.raises(DataDirUnavailable, match=os.strerror(number)), refusals():
        raise OSError(number, os.strerror(number))


def test_a_missing_file_is_no_refusal() -> None:
    with pytest.raises(FileNotFoundError), refusals():
        raise FileNotFoundError(errno.ENOENT, "x")
