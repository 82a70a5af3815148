"""Pages of lists behind an entry that is removed at the same moment: refused, never other entries left out or twice."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.redis_between import redis_between
from tests.fakes.valkey import Valkey
from tests.integration.store.test_job_index import PROJECT, accepted, job, settled
from tunehook.errors import NotFound
from tunehook.model.file import File
from tunehook.model.webhook import Endpoint
from tunehook.store.job_index import JobFilter
from tunehook.store.store import Store

Remove = Callable[[], Awaitable[object]]
NUMBERS = range(6)


@asynccontextmanager
async def removed_while_its_place_is_read(valkey: Valkey, directory: Path, remove: Remove) -> AsyncIterator[Store]:
    async def _before(commands: list[list[bytes]]) -> None:
        if commands[0][0] == b"ZSCORE":
            await remove()

    async with redis_between(valkey.url, directory, before=_before) as url, Store.connect(url) as store:
        yield store


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    async with Store.connect(valkey.url) as store:
        yield store


@pytest.mark.parametrize(
    "wanted",
    [JobFilter(), JobFilter(model="gpt-4.1-mini"), JobFilter(text="ftjob-n"), JobFilter(metadata={"n": "1"})],
    ids=["all", "model", "text", "metadata"],
)
async def test_jobs(store: Store, valkey: Valkey, tmp_path: Path, wanted: JobFilter) -> None:
    plain = job(0).spec.model_copy(update={"metadata": {"n": "1"}})
    jobs = [job(number, created_at=1, spec=plain) for number in NUMBERS]
    records = await accepted(store, jobs)
    await settled(store, records, "succeeded")
    third = await store.jobs.read(jobs[3].id)
    async with removed_while_its_place_is_read(valkey, tmp_path, lambda: store.deletion.delete_job(third)) as reader:
        with pytest.raises(NotFound, match=jobs[3].id):
            await reader.jobs.page(PROJECT, after=jobs[3].id, limit=10, wanted=wanted)


async def test_files(store: Store, valkey: Valkey, tmp_path: Path) -> None:
    for number in NUMBERS:
        described = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 1, "created_at": 1, "sha256": "x"}
        await store.files.add(File.model_validate({"id": f"file-{number}", "project": PROJECT, **described}))
    async with removed_while_its_place_is_read(
        valkey, tmp_path, lambda: store.files.delete("file-3", PROJECT)
    ) as reader:
        with pytest.raises(NotFound, match="file-3"):
            await reader.files.page(PROJECT, after="file-3", limit=10, purpose=None, ascending=False)


async def test_endpoints(store: Store, valkey: Valkey, tmp_path: Path) -> None:
    named = {"project": PROJECT, "name": "a", "event_types": [], "secret": "x", "secret_hint": "x"}
    for number in NUMBERS:
        members = {"id": f"we_{number}", "url": f"https://example.com/{number}", "created_at": 1, "updated_at": 1}
        await store.endpoints.add(Endpoint.model_validate(named | members), key_id="k", digest=str(number))
    third = await store.endpoints.read("we_3")
    async with removed_while_its_place_is_read(valkey, tmp_path, lambda: store.endpoints.delete(third)) as reader:
        with pytest.raises(NotFound, match="we_3"):
            await reader.endpoints.page(PROJECT, after="we_3", limit=10)
