"""`tunehook backup` and `restore`: what was taken from one place works in another, and nothing empty is taken."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli import backup
from tests.fakes.deployment import SECRET_KEY
from tests.fakes.forked import command
from tests.fakes.valkey import Valkey, valkey_server
from tests.integration.service.conftest import Api, form
from tests.integration.service.test_tenants import BASE, DATASET
from tunehook import api_keys
from tunehook.errors import StoreMisconfigured
from tunehook.store import snapshot
from tunehook.store.store import Store

pytestmark = pytest.mark.processes


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("second")) as server:
        yield server


async def run(*arguments: str, url: str, data_dir: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TUNEHOOK_", "OPENAI_"))}
    environment |= {"REDIS_URL": url, "TUNEHOOK_DATA_DIR": str(data_dir), "TUNEHOOK_SECRET_KEY": SECRET_KEY} | changes
    return await asyncio.to_thread(command, *arguments, environment=environment)


async def contents(url: str) -> dict[str, snapshot.Entry]:
    store = Store.connect(url)
    try:
        packed = await store.run("snapshot", [], [])
    finally:
        await store.close()
    entries = [json.loads(snapshot.text(entry)) for entry in packed]
    return {entry[0]: [sorted(entry[3]) if entry[1] == "set" else entry[3], entry[2], entry[4]] for entry in entries}


@pytest.fixture
async def archive(api: Api, valkey: Valkey, tmp_path: Path) -> Path:
    """A backup of a deployment that runs, with a job, a file and what the API stores beside them."""
    await api_keys.check_secret_key(api.ctx.store, api.ctx.webhooks.encryption)
    answer = await api.call("POST", "/v1/files", data=form(content=DATASET))
    body = {"model": BASE, "training_file": answer.json["id"]}
    headers = {"idempotency-key": "x"}
    api.ids["job"] = (await api.call("POST", "/v1/fine_tuning/jobs", json=body, headers=headers)).json["id"]
    path = tmp_path.parent / f"{tmp_path.name}-backup"
    done = await run("backup", str(path), url=valkey.url, data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 files" in done.stderr
    return path


async def test_what_was_backed_up_is_restored_elsewhere(
    api: Api, archive: Path, valkey: Valkey, second: Valkey, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("place")
    done = await run("restore", str(archive), url=second.url, data_dir=place)
    assert done.returncode == 0, done.stderr
    assert "records, 1 files" in done.stderr
    before, after = await contents(valkey.url), await contents(second.url)
    assert before.keys() == after.keys()
    job = f"th:job:{api.ids['job']}"
    old, new = (dict(zip(found[job][0][::2], found[job][0][1::2], strict=True)) for found in (before, after))
    assert new["doc"].startswith(f'{{"id":"{api.ids["job"]}","project":"')
    assert json.loads(new["doc"]) == json.loads(old["doc"]) | {"doubtful_since": json.loads(old["doc"])["created_at"]}
    assert new | {"doc": ""} == old | {"doc": ""}
    del before[job]
    for name, (value, expires, last) in before.items():
        assert after[name][0] == value, name
        assert abs(int(after[name][1]) - int(expires)) < 5, name
        assert after[name][2] == last, name
    for kept in ("files", "reports"):
        assert {p.name: p.read_bytes() for p in (tmp_path / kept).iterdir()} == {
            p.name: p.read_bytes() for p in (place / kept).iterdir()
        }
    assert (place / ".store").read_text() == (tmp_path / ".store").read_text()
    refused = await run("restore", str(archive), url=second.url, data_dir=place)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr
    assert (await run("restore", str(archive), "--force", url=second.url, data_dir=place)).returncode == 0
    assert (await contents(second.url)).keys() == after.keys()


async def test_what_cannot_be_done_is_one_line(api: Api, archive: Path, valkey: Valkey, tmp_path: Path) -> None:
    """A restore while programs run; a data directory of another store; targets that cannot be written."""
    here = tmp_path
    refused = [
        (["restore", str(archive)], here, "Stop service and worker"),
        (["backup", str(tmp_path / "b")], tmp_path / "another", "does not bear the mark"),
        (["restore", str(tmp_path / "missing")], here, "there is no file"),
        (["backup", str(tmp_path / "missing" / "b")], here, "file cannot be read (No such file or directory)."),
        (["backup", str(tmp_path)], here, "cannot be written"),
    ]
    for arguments, data_dir, why in refused:
        done = await run(*arguments, url=valkey.url, data_dir=data_dir)
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr


async def test_an_empty_place_is_not_backed_up(second: Valkey, tmp_path: Path) -> None:
    done = await run("backup", str(tmp_path / "b"), url=second.url, data_dir=tmp_path)
    assert (done.returncode, "no job, no file and no API key" in done.stderr) == (1, True)
    assert not (tmp_path / "b").exists()


async def test_bytes_that_are_not_as_recorded_are_named(archive: Path, valkey: Valkey, tmp_path: Path) -> None:
    [file] = (tmp_path / "files").iterdir()
    target = tmp_path / "b"
    for kind in ("damaged", "missing"):
        file.unlink() if kind == "missing" else file.write_bytes(b"x")
        done = await run("backup", str(target), url=valkey.url, data_dir=tmp_path)
        assert done.returncode == 1
        assert f"{file.name} ({kind})" in done.stderr
        assert not target.exists()
    assert (await run("backup", str(target), "--force", url=valkey.url, data_dir=tmp_path)).returncode == 0


def with_records(plain: bytes, records: list[snapshot.Entry], *, unsaid: int = 0) -> bytes:
    """An archive that is whole, with these records beside its own; `unsaid` of all are not counted at its end."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(plain)) as old,
        gzip.open(packed, "w") as out,
        tarfile.open(fileobj=out, mode="w|") as new,
    ):
        parts: dict[str, tuple[int, str]] = {}
        count = 0
        for member in old:
            content = read(old, member)
            if member.name.startswith("records/"):
                count += len(all_records := [*json.loads(content), *records])
                content = json.dumps(all_records).encode()
            if member.name == "end.json":
                content = json.dumps({**json.loads(content), "parts": parts, "records": count - unsaid}).encode()
            elif member.name != "header.json":
                parts[member.name] = len(content), hashlib.sha256(content).hexdigest()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def spoilt(archive: Path) -> dict[str, bytes]:
    content = archive.read_bytes()
    plain = gzip.decompress(content)
    return {
        "cut": content[: len(content) // 2],
        "garbage": b"garbage",
        "empty": b"",
        "half": gzip.compress(plain[: len(plain) // 2 // 512 * 512]),
        "records of others": with_records(plain, [["rq:job:1", "hash", "0", ["data", "x"], ""]]),
        "half a record": with_records(plain, [["th:job:1", "hash", "0", ["doc"], ""]]),
        "more than counted": with_records(plain, [["th:job:1", "hash", "0", ["doc", "x"], ""]], unsaid=1),
        "fewer than counted": with_records(plain, [], unsaid=-1),
        "last bytes cut": content[:-4],
        "other last bytes": content[:-8] + bytes(8),
        "another key": content,
    }


async def test_a_bad_archive_restores_nothing(archive: Path, second: Valkey, tmp_path: Path) -> None:
    for harm, content in (await asyncio.to_thread(spoilt, archive)).items():
        await asyncio.to_thread(archive.write_bytes, content)
        place = tmp_path / harm
        changes = {"TUNEHOOK_SECRET_KEY": "b" * 43 + "="} if harm == "another key" else {}
        done = await run("restore", str(archive), url=second.url, data_dir=place, **changes)
        assert done.returncode == 1, harm
        assert "Nothing was restored" in done.stderr or harm == "another key"
        assert "Traceback" not in done.stderr
        assert await contents(second.url) == {}
        assert not list(place.iterdir())


@asynccontextmanager
async def opened(server: Valkey) -> AsyncIterator[Store]:
    """A store that is closed before a command runs, which counts clients."""
    store = Store.connect(server.url)
    try:
        yield store
    finally:
        await store.close()


async def test_a_restore_that_breaks_off_is_repeated_and_nothing_starts_before(
    api: Api, archive: Path, valkey: Valkey, second: Valkey, tmp_path: Path
) -> None:
    place, large = tmp_path / "place", tmp_path / "large"
    async with opened(valkey) as store:
        await store.redis.hset("th:job:ftjob-large", "doc", "x" * 8_000_000)
    assert (await run("backup", str(large), url=valkey.url, data_dir=tmp_path)).returncode == 0
    async with opened(second) as store:
        used = (await store.redis.info("memory"))["used_memory"]
        await store.redis.config_set("maxmemory", used + 4_000_000)
    done = await run("restore", str(large), url=second.url, data_dir=place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Repeat it with `--force`" in done.stderr
    async with opened(second) as store:
        await store.redis.config_set("maxmemory", 0)
        with pytest.raises(StoreMisconfigured, match="broke off"):
            await api_keys.check_secret_key(store, api.ctx.webhooks.encryption)
    refused = await run("backup", str(tmp_path / "b"), url=second.url, data_dir=place)
    assert (refused.returncode, "broke off" in refused.stderr) == (1, True)
    done = await run("restore", str(large), "--force", url=second.url, data_dir=place)
    assert done.returncode == 0, done.stderr
    async with opened(second) as store:
        await api_keys.check_secret_key(store, api.ctx.webhooks.encryption)


async def test_records_are_written_and_read_in_parts(
    archive: Path, valkey: Valkey, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Half a gigabyte of records has to fit into a container of as much."""
    async with opened(valkey) as store:
        for number in range(10):
            await store.redis.hset(f"th:job:ftjob-{number}", "doc", f'"\x1b\u2028é{number}' * 200_000)
    target = tmp_path / "b"
    assert (await run("backup", str(target), url=valkey.url, data_dir=tmp_path)).returncode == 0
    with tarfile.open(target) as tar:
        sizes = [member.size for member in tar if member.name.startswith("records/")]
    assert len(sizes) > 2
    assert max(sizes) < 3 * backup.PART_CHARACTERS
