"""Files in a bucket, at moto's S3 server: the places' own tests, a server in trouble, two machines, 512 MB."""

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web
from openai.types.fine_tuning import FineTuningJob

from tests.fakes.deployment import SECRET_KEY, Program, deployment
from tests.fakes.ports import free_port
from tests.fakes.serving import serving
from tests.fakes.valkey import valkey_server
from tests.unit.dataset.lines import good, jsonl
from tests.unit.files import test_place as places
from tests.unit.files.test_place import LARGE, Marks
from tunehook.errors import DataDirUnavailable
from tunehook.files.directory import Directory
from tunehook.files.object_store import ObjectStore, Patience
from tunehook.files.storage import Storage
from tunehook.model.file import File
from tunehook.store.store import Store

#: Enough for a machine that is busy, and few tries, so that a server that stays away is soon given up.
SHORT = Patience(connect=5, request=20, retries=2, retry_until=30, longest_pause=0.5)
RUN = "from cli.main import main; raise SystemExit(main())"
#: The tests that every place passes, here with a bucket of its own.
test_a_file_is_there_whole = places.test_a_file_is_there_whole_once_it_is_kept
test_a_file_that_breaks_off = places.test_a_file_that_breaks_off_leaves_nothing
test_a_file_that_is_there = places.test_a_file_that_is_there_is_not_replaced
test_of_two_that_mark_a_place = places.test_of_two_that_mark_a_place_one_wins
test_a_place_of_another_redis = places.test_a_place_of_another_redis_is_refused_and_says_nothing
test_a_place_that_was_emptied = places.test_a_place_that_was_emptied_says_nothing_of_files
test_parts = places.test_parts_and_what_is_old_are_swept
test_entries = places.test_entries_say_bytes_and_time


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Needs no npm package."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server in a process; yields its root."""
    port, patience = free_port(), time.monotonic() + 120
    program = Program(["moto.server", "-H", "127.0.0.1", "-p", str(port)], {}, tmp_path_factory.mktemp("moto") / "log")
    program.start()
    root = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{root}/moto-api/", timeout=10).close()
            break
        except OSError:
            assert not program.ended, program.said()
            assert time.monotonic() < patience, program.said()
            time.sleep(0.1)
    yield root
    program.stop()


@pytest.fixture
def environment(server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What names the server, set for this process too."""
    found = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def url(server: str, environment: dict[str, str]) -> str:
    """A path in a new bucket."""
    name = f"b{os.urandom(6).hex()}"
    urllib.request.urlopen(urllib.request.Request(f"{server}/{name}", method="PUT"), timeout=60).close()
    return f"s3://{name}/path"


@pytest.fixture
def place(url: str) -> ObjectStore:
    return ObjectStore.at(url)


@pytest.fixture
def storage(place: ObjectStore) -> Storage:
    return Storage(place, Marks())


def unjoined(server: str, url: str) -> int:
    """Returns how many uploads of parts the bucket has that were neither joined nor given up."""
    with urllib.request.urlopen(f"{server}/{url.split('/')[2]}?uploads", timeout=60) as answer:
        return int(answer.read().count(b"<UploadId>"))


async def test_a_file_that_breaks_off_leaves_no_parts(server: str, url: str, storage: Storage) -> None:
    incoming = storage.receive("file-1")
    await incoming.open()
    for _ in range(3):
        await incoming.write(LARGE)
    await incoming.close()
    assert await asyncio.to_thread(unjoined, server, url) == 0


# ---- a server in trouble


@dataclass
class Trouble:
    """Stands before the server: `answer` may refuse a request, or break it off, instead of passing it on.

    `translated` returns the headers that it passes on.
    """

    answer: Callable[[web.Request], web.Response | str | None] = lambda request: None
    translated: Callable[[dict[str, str]], dict[str, str]] = dict
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def in_trouble(server: str, trouble: Trouble) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        trouble.asked.append(request.method)
        body = await request.read()
        wanted = trouble.answer(request)
        if isinstance(wanted, web.Response):
            return wanted
        if wanted == "before":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        head = {name.lower(): value for name, value in request.headers.items() if name.lower() not in ("host", "te")}
        async with session.request(
            request.method,
            server + request.raw_path,
            data=io.BytesIO(body),
            headers=trouble.translated(head),
            skip_auto_headers=("Content-Type",),
        ) as answer:
            content = await answer.read()
            kept = {n: v for n, v in answer.headers.items() if n.lower() not in ("transfer-encoding", "connection")}
            if wanted == "after":  # done, and the answer is lost
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if wanted == "half":
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                await response.write(content[: len(content) // 2])
                assert request.transport is not None
                request.transport.abort()
                return response
            return web.Response(status=answer.status, headers=kept, body=content)

    app = web.Application(client_max_size=100_000_000)
    app.router.add_route("*", "/{path:.*}", handle)
    async with aiohttp.ClientSession(auto_decompress=False) as session, serving(app) as root:
        yield root


@asynccontextmanager
async def troubled(server: str, url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Storage, Trouble]]:
    trouble = Trouble()
    async with in_trouble(server, trouble) as root:
        monkeypatch.setenv("AWS_ENDPOINT_URL", root)
        storage = Storage(ObjectStore.at(url, SHORT), Marks())
        await storage.save("file-0", LARGE)
        trouble.asked.clear()
        yield storage, trouble


def times(count: int, method: str, what: web.Response | str) -> Callable[[web.Request], web.Response | str | None]:
    """Does `what` to the first `count` requests of a method."""
    left = [count]

    def answer(request: web.Request) -> web.Response | str | None:
        if request.method != method or left[0] == 0:
            return None
        left[0] -= 1
        return web.Response(status=what.status, body=what.body) if isinstance(what, web.Response) else what

    return answer


@pytest.mark.parametrize("size", [1_000, len(LARGE)], ids=["small", "large"])
@pytest.mark.parametrize("what", [web.Response(status=503), "before", "after"], ids=["503", "reset", "lost answer"])
async def test_a_write_gets_over_a_short_trouble(
    server: str, url: str, monkeypatch: pytest.MonkeyPatch, what: web.Response | str, size: int
) -> None:
    async with troubled(server, url, monkeypatch) as (storage, trouble):
        trouble.answer = times(2, "PUT", what)
        content = LARGE[:size]
        incoming = storage.receive("file-1")
        await incoming.open()
        await incoming.write(content)
        await incoming.keep()
        await incoming.close()
        blob = await storage.open("file-1")
        assert b"".join([piece async for piece in blob.chunks()]) == content


@pytest.mark.parametrize("what", [web.Response(status=503), "before", "half"], ids=["503", "reset", "half"])
async def test_a_read_gets_over_a_short_trouble(
    server: str, url: str, monkeypatch: pytest.MonkeyPatch, what: web.Response | str
) -> None:
    async with troubled(server, url, monkeypatch) as (storage, trouble):
        blob = await storage.open("file-0")
        trouble.answer = times(2, "GET", what)
        assert b"".join([piece async for piece in blob.chunks()]) == LARGE


@pytest.mark.parametrize("size", [1_000, len(LARGE)], ids=["small", "large"])
async def test_a_server_that_stays_away_is_given_up_and_leaves_nothing(
    server: str, url: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async with troubled(server, url, monkeypatch) as (storage, trouble):
        trouble.answer = lambda request: web.Response(status=503)
        incoming = storage.receive("file-1")
        with pytest.raises(DataDirUnavailable, match="does not answer"):  # noqa: PT012  wherever it is noticed
            await incoming.open()
            await incoming.write(LARGE[:size])
            await incoming.keep()
        await incoming.close()
        assert len(trouble.asked) < 20
        trouble.answer = lambda request: None
        assert await storage.file_ids() == {"file-0"}


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "SignatureDoesNotMatch", "Correct AWS_SECRET_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", "Correct AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", "need to read, write, list and delete"),
        (403, "RequestTimeTooSkewed", "Set it by NTP"),
        (404, "NoSuchBucket", "Create it"),
    ],
)
async def test_a_refusal_says_what_to_do_and_loses_no_file(
    server: str, url: str, monkeypatch: pytest.MonkeyPatch, status: int, code: str, advice: str
) -> None:
    async with troubled(server, url, monkeypatch) as (storage, trouble):
        text = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
        trouble.answer = lambda request: web.Response(status=status, text="" if request.method == "HEAD" else text)
        storage.forget_mark()
        for attempt in (storage.exists("file-0"), storage.save("file-1", b"x"), storage.check_room()):
            with pytest.raises(DataDirUnavailable) as refused:
                await attempt
            assert advice in refused.value.detail
            assert url not in refused.value.message
        trouble.answer = lambda request: None
        assert await storage.exists("file-0")


async def test_a_bucket_that_is_missing_is_no_missing_file(environment: dict[str, str]) -> None:
    storage = Storage(ObjectStore.at("s3://there-is-none/path", SHORT), Marks(is_new=False))
    with pytest.raises(DataDirUnavailable) as refused:
        await storage.exists("file-1")
    assert "the bucket does not exist. Create it" in refused.value.detail


# ---- two machines


async def test_service_and_worker_share_nothing_but_redis_and_the_bucket(
    tmp_path: Path, url: str, environment: dict[str, str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    with deployment(
        tmp_path,
        simulators={"openai": ("--speed", "2000")},
        all_names=False,
        WORKER_DATA_DIR=str(elsewhere),
        TUNEHOOK_STORE_URL=url,
        **environment,
    ) as town:
        caller = await town.key("p")
        async with openai.AsyncOpenAI(base_url=town.url, api_key=caller.key, max_retries=5) as client:
            small = jsonl(*(good(n) for n in range(20)))
            large = small + jsonl(good(1)) * 120_000  # above 16 MB: checked by the worker
            assert len(large) > 16 * 1024 * 1024
            done = []
            for name, content in (("small", small), ("large", large)):
                file = await client.files.create(file=(f"{name}.jsonl", content), purpose="fine-tune", timeout=300)
                done.append((file, content))
            upload = await client.uploads.create(
                bytes=len(small), filename="parts.jsonl", mime_type="text/jsonl", purpose="fine-tune"
            )
            halves = (small[:1000], small[1000:])
            parts = [(await client.uploads.parts.create(upload.id, data=half)).id for half in halves]
            joined = (await client.uploads.complete(upload.id, part_ids=parts)).file
            assert joined is not None
            jobs = [
                await client.fine_tuning.jobs.create(training_file=one.id, model="gpt-4o-mini-2024-07-18")
                for one in (*(file for file, _ in done), joined)
            ]
            ended = [await settled(client, job.id) for job in jobs]
            assert [job.status for job in ended] == ["succeeded"] * 3, ended
            for file, content in done:
                assert (await client.files.content(file.id)).content == content
            result = await client.files.content(ended[0].result_files[0])
            assert result.content.startswith(b"step,")
            await client.files.delete(done[0][0].id)
            with pytest.raises(openai.NotFoundError):
                await client.files.content(done[0][0].id)
    names = [path.name for folder in (town.data_dir, elsewhere) if folder.exists() for path in folder.rglob("*")]
    assert names == []


async def settled(client: openai.AsyncOpenAI, job_id: str) -> FineTuningJob:
    until = time.monotonic() + 200
    while (job := await client.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < until, job
        await asyncio.sleep(0.3)
    return job


# ---- moving


async def test_a_deployment_moves_into_a_bucket_and_back(tmp_path: Path, url: str, environment: dict[str, str]) -> None:
    with valkey_server(tmp_path / "valkey") as valkey:
        (tmp_path / "data").mkdir()
        contents = {f"file-{number}": os.urandom(1000 * number) for number in range(1, 6)} | {"file-large": LARGE}
        async with Store.connect(valkey.url) as store:
            here = Storage(Directory(tmp_path / "data"), store.deletion)
            for file_id, content in contents.items():
                await store.files.add(recorded(file_id, content, await here.save(file_id, content)))
            await here.place.put("reports/file-1.json", b"{}")
            mark, _ = await store.deletion.storage_mark()

        async def copy(source: str, target: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", RUN, "storage", "copy", source, target]
            settings = {"REDIS_URL": valkey.url, "TUNEHOOK_SECRET_KEY": SECRET_KEY}
            return await asyncio.to_thread(
                subprocess.run, command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=200
            )

        refused = await copy(str(tmp_path / "data"), "s3://there-is-none/path")
        assert (refused.returncode, "the bucket does not exist. Create it" in refused.stderr) == (1, True), refused
        done = await copy(str(tmp_path / "data"), url)
        assert (done.returncode, "7 of 7 files" in done.stderr, "7 copied now" in done.stderr) == (0, True, True), done
        there = Storage(ObjectStore.at(url), Marks(mark, is_new=False))
        await there.place.put("files/file-2", b"x" * 2000)  # damaged since
        await there.remove("file-3")
        again = await copy(str(tmp_path / "data"), url)
        assert (again.returncode, "2 copied now" in again.stderr) == (0, True), again
        for file_id, content in contents.items():
            assert b"".join([piece async for piece in (await there.open(file_id)).chunks()]) == content
        await asyncio.to_thread(shutil.rmtree, tmp_path / "data")
        await asyncio.to_thread((tmp_path / "data").mkdir)
        back = await copy(url, str(tmp_path / "data"))
        assert back.returncode == 0, back
        assert await asyncio.to_thread((tmp_path / "data" / "files" / "file-large").read_bytes) == LARGE
        await here.place.put("files/file-4", b"y" * 4000)
        await there.remove("file-4")
        damaged = await copy(str(tmp_path / "data"), url)
        assert (damaged.returncode, "files/file-4" in damaged.stderr) == (1, True), damaged
        assert not await there.exists("file-4")


def recorded(file_id: str, content: bytes, sha256: str) -> File:
    return File(
        id=file_id,
        project="p",
        filename="a.jsonl",
        purpose="fine-tune",
        bytes=len(content),
        created_at=int(time.time()),
        sha256=sha256,
        status="processed",
        expires_at=None,
    )


# ---- memory


async def test_512_mb_go_through_in_flat_memory(tmp_path: Path, url: str, environment: dict[str, str]) -> None:
    """The service's peak, above what it had before: upload in one request, and download."""
    line = jsonl(good(1))
    block = line * (1024 * 1024 // len(line))
    blocks = 511 * 1024 * 1024 // len(block)

    async def form(boundary: str, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
        opening = f"--{boundary}\r\nContent-Disposition: form-data; name="
        yield f'{opening}"purpose"\r\n\r\nfine-tune\r\n'.encode()
        yield f'{opening}"file"; filename="a.jsonl"\r\n\r\n'.encode()
        for _ in range(blocks):
            await asyncio.to_thread(digest.update, block)
            yield block
        yield f"\r\n--{boundary}--\r\n".encode()

    with deployment(
        tmp_path, simulators={"openai": ()}, all_names=False, TUNEHOOK_STORE_URL=url, **environment
    ) as town:
        caller = await town.key("p")
        session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {caller.key}"}, timeout=aiohttp.ClientTimeout(total=900)
        )
        async with session:
            first = aiohttp.FormData({"purpose": "fine-tune"})
            first.add_field("file", jsonl(*(good(n) for n in range(20))), filename="a.jsonl")
            async with session.post(f"{town.url}/files", data=first) as answer:
                assert answer.status == 200, await answer.text()
            before = peak(town.service.pid)
            sent, got = hashlib.sha256(), hashlib.sha256()
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            begun = time.monotonic()
            async with session.post(f"{town.url}/files", data=form("b", sent), headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                file = await answer.json()
            uploaded, up_seconds = peak(town.service.pid), time.monotonic() - begun
            async with session.get(f"{town.url}/files/{file['id']}/content") as answer:
                async for chunk in answer.content.iter_chunked(1024 * 1024):
                    got.update(chunk)
            downloaded, all_seconds = peak(town.service.pid), time.monotonic() - begun
        print(  # noqa: T201  the figure is what one runs this for
            f"{file['bytes'] / 1e6:.0f} MB: peak {before:.0f} MiB before, {uploaded:.0f} after the upload "
            f"({up_seconds:.0f} s), {downloaded:.0f} after the download ({all_seconds - up_seconds:.0f} s)"
        )
        assert got.hexdigest() == sent.hexdigest()
        assert downloaded - before < 64


def peak(pid: int) -> float:
    """Returns the highest resident memory of a process so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024
