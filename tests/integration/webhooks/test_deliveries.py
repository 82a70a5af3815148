"""Why did it come, or not come? Lists, filters, attempts, and asking for it again."""

import time

import pytest

from tests.contract.checker import Contract
from tests.fakes.misbehaving_receiver import Misbehaving
from tests.fakes.receiver import Receiver
from tests.integration.webhooks.conftest import DUE, Office
from tunehook.store.deliveries import KEPT_SECONDS
from tunehook.webhooks.retry_policy import MAX_ATTEMPTS

SUCCEEDED, FAILED = "fine_tuning.job.succeeded", "fine_tuning.job.failed"


async def test_lists_are_filtered_and_paged(office: Office, receiver: Receiver) -> None:
    made = await office.subscribe(receiver.url, SUCCEEDED, FAILED)
    jobs = [await office.happen(SUCCEEDED if n % 2 else FAILED) for n in range(6)]
    await office.deliver()
    base = f"/v1/webhook_endpoints/{made['id']}/deliveries"
    everything = await office.deliveries(made["id"])
    assert sorted(d["job_id"] for d in everything) == sorted(job.id for job in jobs)
    page = await office.get(f"{base}?limit=4")
    rest = await office.get(f"{base}?limit=4&after={page['last_id']}")
    assert (len(page["data"]), page["has_more"], len(rest["data"]), rest["has_more"]) == (4, True, 2, False)
    assert page["data"] + rest["data"] == everything
    assert {d["event_type"] for d in await office.deliveries(made["id"], f"?event_type={FAILED}")} == {FAILED}
    assert [d["job_id"] for d in await office.deliveries(made["id"], f"?job={jobs[2].id}")] == [jobs[2].id]
    assert len(await office.deliveries(made["id"], "?state=delivered")) == 6
    assert await office.deliveries(made["id"], "?state=pending") == []
    assert await office.deliveries(made["id"], "?state=failed") == []
    now = int(time.time())
    assert len(await office.deliveries(made["id"], f"?created_after={now - 60}&created_before={now + 60}")) == 6
    assert await office.deliveries(made["id"], f"?created_before={now - 60}") == []
    assert await office.deliveries(made["id"], f"?created_after={now + 60}") == []
    of_job = await office.get(f"/v1/fine_tuning/jobs/{jobs[0].id}/deliveries")
    assert [d["job_id"] for d in of_job["data"]] == [jobs[0].id]


@pytest.mark.parametrize(
    "query", ["?state=lost", "?created_after=yesterday", "?limit=0", "?evnt_type=x", "?after=dlv_no"]
)
async def test_a_wrong_filter_is_refused(office: Office, receiver: Receiver, query: str) -> None:
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.get(f"/v1/webhook_endpoints/{made['id']}/deliveries{query}", status=400)


async def test_a_delivery_shows_its_payload_and_every_attempt(
    office: Office, receiver: Receiver, contract: Contract
) -> None:
    receiver.answers[:] = [500, 200]
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.happen()
    await office.deliver()
    await office.make_due(made["id"])
    await office.deliver()
    first, second = receiver.hooks
    assert first.id == second.id
    assert first.body == second.body
    contract.check_webhook(second.body, second.headers)
    delivery = await office.get(f"/v1/deliveries/{(await office.deliveries(made['id']))[0]['id']}")
    assert delivery["payload"] == second.event
    assert [(a["number"], a["status_code"], bool(a["error"])) for a in delivery["attempts"]] == [
        (1, 500, True),
        (2, 200, False),
    ]
    assert (delivery["state"], delivery["last_error"]) == ("delivered", None)
    assert delivery["delivered_at"] == delivery["attempts"][1]["started_at"]


async def test_redelivery_has_the_same_id_and_a_new_schedule(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/500", SUCCEEDED)
    await office.happen()
    delivery_id = (await office.deliveries(made["id"]))[0]["id"]
    for _ in range(MAX_ATTEMPTS):
        await office.make_due(made["id"])
        await office.deliver()
    assert (await office.deliveries(made["id"], "?state=failed"))[0]["id"] == delivery_id
    again = await office.post(f"/v1/deliveries/{delivery_id}/redeliver")
    assert (again["state"], again["attempt_count"]) == ("pending", MAX_ATTEMPTS)
    assert await office.deliveries(made["id"], "?state=failed") == []
    await office.deliver()
    assert await office.due_in(delivery_id) == pytest.approx(5, abs=1.5)  # the first pause again
    assert len(bad.ids) == MAX_ATTEMPTS + 1
    assert len(set(bad.ids)) == 1


async def test_what_was_delivered_can_be_sent_again(office: Office, receiver: Receiver) -> None:
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.happen(callback_url=receiver.url)
    await office.deliver()
    assert len(receiver.hooks) == 2
    job_id = receiver.hooks[0].event["data"]["id"]
    for delivery in (await office.get(f"/v1/fine_tuning/jobs/{job_id}/deliveries"))["data"]:
        await office.post(f"/v1/deliveries/{delivery['id']}/redeliver")
    await office.deliver()
    assert len(receiver.hooks) == 4
    assert len({hook.id for hook in receiver.hooks}) == 1
    assert len(await office.deliveries(made["id"])) == 1


async def test_a_deleted_endpoint_is_sent_nothing_and_its_deliveries_say_so(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/500", SUCCEEDED)
    await office.happen()
    await office.deliver()
    delivery_id = (await office.deliveries(made["id"]))[0]["id"]
    await office.client.webhooks.delete(made["id"])
    await office.deliver()
    delivery = await office.get(f"/v1/deliveries/{delivery_id}")
    assert (delivery["state"], delivery["last_error"]) == ("failed", "the subscription was deleted")
    assert len(bad.seen) == 1
    error = (await office.post(f"/v1/deliveries/{delivery_id}/redeliver", status=409))["error"]
    assert error["code"] == "delivery_without_receiver"


async def test_another_project_sees_no_delivery(offices: list[Office], receiver: Receiver) -> None:
    made = await offices[0].subscribe(receiver.url, SUCCEEDED)
    job = await offices[0].happen()
    delivery_id = (await offices[0].deliveries(made["id"]))[0]["id"]
    await offices[1].get(f"/v1/deliveries/{delivery_id}", status=404)
    await offices[1].post(f"/v1/deliveries/{delivery_id}/redeliver", status=404)
    await offices[1].get(f"/v1/fine_tuning/jobs/{job.id}/deliveries", status=404)


async def test_everything_about_a_delivery_expires_after_30_days(office: Office, bad: Misbehaving) -> None:
    await office.subscribe(f"{bad.root}/410", SUCCEEDED)
    await office.happen()
    await office.deliver()
    redis = office.ctx.store.redis
    kept: dict[str, int] = {}
    for pattern in ("event", "delivery", "attempts", "job-deliveries", "endpoint-deliveries", "failed-deliveries"):
        found = [name async for name in redis.scan_iter(match=f"th:{pattern}:*")]
        assert found, pattern
        kept |= {name: await redis.ttl(name) for name in found}
    assert all(KEPT_SECONDS - 60 < ttl <= KEPT_SECONDS for ttl in kept.values()), kept
    assert await redis.zcard(DUE) == 0


async def test_expired_deliveries_are_passed_over_and_cut_from_the_index(office: Office, receiver: Receiver) -> None:
    made = await office.subscribe(receiver.url, SUCCEEDED)
    redis, index = office.ctx.store.redis, f"th:endpoint-deliveries:{made['id']}"
    old = (time.time() - KEPT_SECONDS - 60) * 1000
    await redis.zadd(index, {"dlv_old": old, "dlv_lost": time.time() * 1000})
    await redis.zadd(DUE, {"delivery:dlv_lost": 0})
    await office.happen()
    await office.deliver()
    assert await redis.zscore(index, "dlv_old") is None
    assert await redis.zcard(DUE) == 0
    assert len(await office.deliveries(made["id"])) == 1


async def test_a_claim_reads_what_deliveries_have_in_common_once_and_in_few_answers(
    office: Office, receiver: Receiver
) -> None:
    for number in range(3):
        await office.subscribe(f"{receiver.url}/{number}", SUCCEEDED)
    for _ in range(4):
        await office.happen(callback_url=receiver.url)
    redis = office.ctx.store.redis
    await redis.config_resetstat()
    count, found = await office.ctx.store.delivery_queue.claim(100)
    stats = await redis.info("commandstats")
    assert (count, len(found)) == (16, 16)
    assert {due.delivery.lane for due in found if due.endpoint} == {due.delivery.endpoint_id for due in found} - {None}
    assert all(due.event.id == due.delivery.event_id and bool(due.key) == bool(due.delivery.key_id) for due in found)
    assert {name: stats[f"cmdstat_{name}"]["calls"] for name in ("evalsha", "mget")} == {"evalsha": 3, "mget": 1}
    assert "cmdstat_get" not in stats
