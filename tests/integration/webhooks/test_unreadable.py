"""Records that nobody can read, or that a newer version wrote: they hold up no other, and are sent by nobody twice."""

from dataclasses import replace

import pytest

from tests.fakes.misbehaving_receiver import Misbehaving
from tests.fakes.receiver import Receiver
from tests.integration.webhooks.conftest import Office
from tunehook import api_keys
from tunehook.maintenance import sweeps
from tunehook.store.engine import keys
from tunehook.webhooks import event_types

SUCCEEDED = event_types.SUCCEEDED
UNREADABLE = ['{"id": 7}', "garbage", "[]", '{"event_id": 7, "key_id": {}}', '"text"']


async def delivered(office: Office, receiver: Receiver) -> list[str]:
    """The jobs that a step told of."""
    await office.deliver()
    return [hook.event["data"]["id"] for hook in receiver.hooks]


@pytest.mark.parametrize("document", UNREADABLE)
async def test_a_delivery_that_cannot_be_read_holds_up_none_behind_it(
    office: Office, receiver: Receiver, document: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.happen()
    (bad,) = await office.deliveries(made["id"])
    redis = office.ctx.store.redis
    await redis.hset(keys.delivery(bad["id"]), "doc", document)
    good = await office.happen()
    assert await delivered(office, receiver) == [good.id]
    assert f"delivery {bad['id']} cannot be read" in caplog.text
    assert 3500 < await office.due_in(bad["id"]) <= 3600
    listed = await office.deliveries(made["id"])
    assert [delivery["job_id"] for delivery in listed] == [good.id], "it hides the others"


async def test_recover_leaves_out_what_cannot_be_read_and_what_has_expired(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/410", SUCCEEDED)
    for _ in range(5):
        await office.happen()
    await office.deliver()  # the first 410 disables the endpoint
    unreadable, expired, *good = await office.deliveries(made["id"])
    redis = office.ctx.store.redis
    await redis.hset(keys.delivery(unreadable["id"]), "doc", "garbage")
    await redis.delete(keys.delivery(expired["id"]))
    await office.post(f"/v1/webhook_endpoints/{made['id']}/enable")
    answer = await office.post(f"/v1/webhook_endpoints/{made['id']}/recover", {"since": 0})
    assert answer["redelivered"] == len(good) == 3


async def test_a_key_that_cannot_be_read_holds_up_only_what_it_signs(office: Office, receiver: Receiver) -> None:
    """Two keys of a project, whose jobs call back to the same place."""
    ctx = office.ctx
    other, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project=office.project, name="other")
    await office.happen(callback_url=receiver.url)
    good = await replace(office, key=other).happen(callback_url=receiver.url)
    await ctx.store.redis.set(f"th:key:{office.key.split('_')[1]}", '{"id": 7}')
    assert await delivered(office, receiver) == [good.id]


@pytest.mark.parametrize("document", [*UNREADABLE, None])
async def test_an_endpoint_that_cannot_be_read_holds_up_its_own_alone_and_loses_nothing(
    office: Office, receiver: Receiver, document: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    broken = await office.subscribe(f"{receiver.url}/broken", SUCCEEDED)
    await office.subscribe(receiver.url, SUCCEEDED)
    job = await office.happen()
    redis, record = office.ctx.store.redis, keys.endpoint(broken["id"])
    kept = await redis.hget(record, "doc")
    if document is None:
        await redis.hdel(record, "doc")
    else:
        await redis.hset(record, "doc", document)
    assert await delivered(office, receiver) == [job.id]
    assert f"{broken['id']} cannot be read" in caplog.text
    assert "Traceback" not in caplog.text
    shown = await office.get("/v1/webhook_endpoints")
    assert len(shown["data"]) == 1, "it hides the others"

    await redis.hset(record, "doc", kept)
    await office.make_due(broken["id"])
    assert await delivered(office, receiver) == [job.id] * 2


async def test_a_delivery_of_a_newer_version_is_left_alone_and_does_not_come_again_and_again(
    office: Office, receiver: Receiver
) -> None:
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.happen()
    (delivery,) = await office.deliveries(made["id"])
    redis, record = office.ctx.store.redis, keys.delivery(delivery["id"])
    await redis.hset(record, "v", "99")
    stored = await redis.hgetall(record)
    assert await delivered(office, receiver) == []
    assert await redis.hgetall(record) == stored
    assert 3 < await office.due_in(delivery["id"]) <= 5


async def test_parked_jobs_that_cannot_be_read_keep_no_other_from_being_told(
    offices: list[Office], receiver: Receiver
) -> None:
    """They are parked because they cannot be read; what is in them is for the operators."""
    office, tenant = offices
    for each in offices:
        await each.subscribe(f"{receiver.url}/{each.project}", event_types.RECORD_PARKED)
    redis = office.ctx.store.redis
    theirs = await tenant.happen()
    await redis.hset(keys.job("ftjob-unreadable"), mapping={"rev": 1, "doc": "garbage"})
    await redis.zadd(keys.PARKED, {"job:ftjob-unreadable": 1_795_340_000_000, f"job:{theirs.id}": 1_795_340_000_001})
    await sweeps.sweep(office.ctx, "parked")
    await office.deliver()
    told = {hook.event["data"]["record_id"] for hook in receiver.hooks}
    assert told == {"ftjob-unreadable", theirs.id}
    assert len(receiver.hooks) == 2, "a tenant is told of its own alone"
    await sweeps.sweep(office.ctx, "parked")
    await office.deliver()
    assert len(receiver.hooks) == 2


@pytest.mark.parametrize("of_it", ["newer", "unreadable"])
async def test_what_another_version_wrote_waits_for_that_one_and_holds_up_no_other(
    office: Office, receiver: Receiver, of_it: str
) -> None:
    """Neither sent without being recorded, again and again, nor given up."""
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.happen()
    [theirs] = await office.deliveries(made["id"])
    redis, name = office.ctx.store.redis, f"th:delivery:{theirs['id']}"
    document = await redis.hget(name, "doc")
    await redis.hset(name, mapping={"v": 99} if of_it == "newer" else {"doc": document.replace('"url"', '"to"')})
    await office.happen()
    await office.deliver()
    assert len(receiver.hooks) == 1
    assert (4 if of_it == "newer" else 3500) < await office.due_in(theirs["id"]) <= 3600
    await redis.hset(name, mapping={"v": 1, "doc": document})
    await office.make_due(made["id"])
    await office.deliver()
    assert len(receiver.hooks) == 2
