"""Lists among records that cannot be read: one hides no others, and its own answer says what is wrong."""

import pytest

from tests.integration.conftest import Bench
from tunehook.errors import RecordTooNew, RecordUnreadable
from tunehook.maintenance import model_retirement
from tunehook.model.job import TunedModel
from tunehook.model.webhook import Endpoint
from tunehook.store.engine import keys
from tunehook.webhooks import event_types

GARBAGE = ['{"id": 7}', "garbage", "[]"]


@pytest.mark.parametrize("document", GARBAGE)
async def test_a_file_that_cannot_be_read_hides_no_other(bench: Bench, document: str) -> None:
    store = bench.ctx.store
    first, bad, last = [await bench.file() for _ in range(3)]
    await store.redis.hset(keys.file(bad.id), "doc", document)
    for ascending in (True, False):
        listed, more = await store.files.page("p", after=None, limit=10, purpose="fine-tune", ascending=ascending)
        assert [file.id for file in listed] == ([first.id, last.id] if ascending else [last.id, first.id])
        assert not more
    with pytest.raises(RecordUnreadable, match=bad.id):
        await store.files.read(bad.id, "p")


async def test_a_file_of_a_newer_version_is_left_alone(bench: Bench) -> None:
    store = bench.ctx.store
    newer, other = [await bench.file() for _ in range(2)]
    await store.redis.hset(keys.file(newer.id), "v", "99")
    with pytest.raises(RecordTooNew, match=newer.id):
        await store.files.read(newer.id, "p")
    listed, _ = await store.files.page("p", after=None, limit=10, purpose=None, ascending=True)
    assert [file.id for file in listed] == [other.id]


async def test_a_record_whose_document_is_gone_is_unreadable_and_not_unknown(bench: Bench) -> None:
    store = bench.ctx.store
    bad, other = [await bench.file() for _ in range(2)]
    await store.redis.hdel(keys.file(bad.id), "doc")
    with pytest.raises(RecordUnreadable, match=bad.id):
        await store.files.read(bad.id, "p")
    listed, _ = await store.files.page("p", after=None, limit=10, purpose=None, ascending=True)
    assert [file.id for file in listed] == [other.id]


async def test_an_endpoint_of_a_newer_version_is_left_alone(bench: Bench) -> None:
    store = bench.ctx.store
    newer, other = [endpoint_of("p", name) for name in ("newer", "other")]
    for endpoint in (newer, other):
        await store.endpoints.add(endpoint, key_id="k", digest=endpoint.id)
    await store.redis.hset(keys.endpoint(newer.id), "v", "99")
    with pytest.raises(RecordTooNew, match=newer.id):
        await store.endpoints.read(newer.id, "p")
    assert await store.endpoints.page("p", after=None, limit=10) == ([other], False)


def endpoint_of(project: str, name: str) -> Endpoint:
    return Endpoint(
        id=f"we_{name}",
        project=project,
        name=name,
        url="https://you.example/hooks",
        event_types=[event_types.RETIRING],
        created_at=1,
        updated_at=1,
        secret="sealed",
        secret_hint="",
    )


@pytest.mark.parametrize("document", GARBAGE)
async def test_a_model_that_cannot_be_read_keeps_no_shutdown_from_being_told(bench: Bench, document: str) -> None:
    store = bench.ctx.store
    for project in ("p", "q"):
        endpoint = endpoint_of(project, project)
        await store.endpoints.add(endpoint, key_id="k", digest=endpoint.id)
    base = "gpt-4.1-mini-2025-04-14"
    good = TunedModel(name=f"ft:{base}:acme::A", upstream="openai", base=base, job_id="ftjob-1", created_at=1)
    await store.redis.hset(keys.models("p"), f"ft:{base}:acme::B", document)
    for project in ("p", "q"):
        await store.redis.hset(keys.models(project), good.name, good.model_dump_json())
    assert [made.name for made in await store.models.of_project("p")] == [good.name]
    assert await model_retirement.publish_retiring(bench.ctx, within_days=100_000)
    for project in ("p", "q"):
        assert await store.redis.zcard(keys.endpoint_deliveries(f"we_{project}")) == 1
