"""What receivers do, and what the schedule says to it. Pauses are read from Redis, not waited for."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.contract.checker import Contract
from tests.fakes.misbehaving_receiver import HUGE, Misbehaving
from tests.fakes.receiver import Receiver
from tests.integration.webhooks.conftest import DUE, Office
from tunehook.store import doctor
from tunehook.store.engine.lease import ended
from tunehook.webhooks import dispatch, retry_policy

SUCCEEDED = "fine_tuning.job.succeeded"


async def attempted(office: Office, url: str, seconds: float = 15.0) -> tuple[str, Any]:
    """One event to a new subscription there, one step; the subscription's id and the delivery as it is then."""
    made = await office.subscribe(url, SUCCEEDED)
    await office.happen()
    await office.deliver(seconds)
    listed = await office.deliveries(made["id"])
    assert len(listed) == 1
    return made["id"], await office.get(f"/v1/deliveries/{listed[0]['id']}")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("500", 500, "your server answered 500"),
        ("404", 404, "does the path of the URL exist?"),
        ("413", 413, "a limit of your server or of a proxy"),
        ("301", 301, "redirects are not followed"),
        ("garbage", None, "is not HTTP"),
        ("reset", None, "the connection broke"),
    ],
)
async def test_a_failure_is_tried_again_after_the_first_pause(
    office: Office, bad: Misbehaving, path: str, status: int | None, words: str
) -> None:
    _endpoint_id, delivery = await attempted(office, f"{bad.root}/{path}")
    assert bad.seen == [f"/{path}"]  # a redirect's target among them would be a second one
    assert (delivery["state"], delivery["attempt_count"], delivery["last_status_code"]) == ("pending", 1, status)
    assert words in delivery["last_error"]
    attempt = delivery["attempts"][0]
    assert (attempt["status_code"], attempt["error"]) == (status, delivery["last_error"])
    assert attempt["response_body"] == ("hello" if path in ("500", "404", "413") else None)
    # Jitter is injected as 0.5, so the pause is the schedule's own.
    assert await office.due_in(delivery["id"]) == pytest.approx(retry_policy.PAUSES[0], abs=1.5)


@pytest.mark.parametrize("path", ["204-and-body", "204-and-chunks", "204-and-close"])
async def test_a_204_is_a_success_also_with_a_body(office: Office, bad: Misbehaving, path: str) -> None:
    _endpoint_id, delivery = await attempted(office, f"{bad.root}/{path}")
    assert (delivery["state"], delivery["last_status_code"], delivery["last_error"]) == ("delivered", 204, None)


async def test_the_next_attempt_is_not_before_the_receivers_rest_is_over(office: Office, bad: Misbehaving) -> None:
    endpoint_id, delivery = await attempted(office, f"{bad.root}/429")
    # After the rest of 120 s, the delivery's own pause of 10 s is long over.
    listed = (await office.deliveries(endpoint_id))[0]
    assert listed["next_attempt_at"] == pytest.approx(time.time() + 120, abs=5)
    assert (await office.get(f"/v1/deliveries/{delivery['id']}"))["next_attempt_at"] >= listed["next_attempt_at"]


async def test_no_answer_at_all_is_a_failure_after_the_timeout(office: Office, bad: Misbehaving) -> None:
    _endpoint_id, delivery = await attempted(office, f"{bad.root}/hang", seconds=0.3)
    assert delivery["last_error"] == retry_policy.Fault.TIMEOUT
    assert delivery["attempts"][0]["duration_ms"] >= 300
    assert await office.due_in(delivery["id"]) == pytest.approx(retry_policy.PAUSES[0], abs=1.5)


async def test_an_answer_of_100_mb_is_not_read(office: Office, bad: Misbehaving) -> None:
    _, delivery = await attempted(office, f"{bad.root}/huge")
    assert bad.sent < HUGE / 4
    attempt = delivery["attempts"][0]
    assert (attempt["status_code"], len(attempt["response_body"])) == (500, 2048)


async def test_429_is_given_rest_and_nothing_else_is_sent_meanwhile(office: Office, bad: Misbehaving) -> None:
    endpoint_id, delivery = await attempted(office, f"{bad.root}/429")
    # Retry-After asks for 120 s: the delivery's own pause can double, and the endpoint rests for all of it.
    assert await office.due_in(delivery["id"]) == pytest.approx(2 * retry_policy.PAUSES[0], abs=1.5)
    rest = await office.ctx.store.redis.pttl(f"th:rest:{endpoint_id}")
    assert 118_000 < rest <= 120_000
    await office.happen()
    await office.deliver()
    assert len(bad.seen) == 1
    [second] = [d["id"] for d in await office.deliveries(endpoint_id) if d["id"] != delivery["id"]]
    assert await office.due_in(second) == pytest.approx(120, abs=10)
    await office.make_due(endpoint_id)
    await office.deliver()
    assert len(bad.seen) == 2  # the first of the two that were due is answered 429 again, and the other waits


async def test_410_disables_and_tells_the_others(
    office: Office, bad: Misbehaving, receiver: Receiver, contract: Contract
) -> None:
    witness = await office.subscribe(receiver.url, "webhook_endpoint.disabled")
    endpoint_id, delivery = await attempted(office, f"{bad.root}/410")
    assert delivery["state"] == "failed"
    shown = await office.get(f"/v1/webhook_endpoints/{endpoint_id}")
    assert shown["tunehook"]["state"] == "disabled"
    assert "410" in shown["tunehook"]["disabled_reason"]
    await office.deliver()
    hook = receiver.hooks[0]
    contract.check_webhook(hook.body, hook.headers)
    assert hook.event["data"]["id"] == endpoint_id
    assert [d["event_type"] for d in await office.deliveries(witness["id"])] == ["webhook_endpoint.disabled"]

    # What happens now is not for it; enabled again, it is.
    await office.happen()
    assert len(await office.deliveries(endpoint_id)) == 1
    enabled = await office.post(f"/v1/webhook_endpoints/{endpoint_id}/enable")
    assert enabled["tunehook"] == {
        "state": "enabled",
        "disabled_reason": None,
        "disabled_at": None,
        "failing_since": None,
        "old_secret_active_until": None,
    }
    await office.happen()
    assert len(await office.deliveries(endpoint_id)) == 2


async def test_what_was_on_its_way_to_a_disabled_endpoint_is_given_up_and_can_be_recovered(
    office: Office, bad: Misbehaving, receiver: Receiver
) -> None:
    made = await office.subscribe(f"{bad.root}/500", SUCCEEDED)
    for _ in range(3):
        await office.happen()
    await office.deliver()
    await office.client.webhooks.update(made["id"], url=f"{bad.root}/410")
    await office.happen()
    await office.deliver()  # one 410 disables; the three that wait for their time are given up with it
    listed = await office.deliveries(made["id"])
    assert [d["state"] for d in listed] == ["failed"] * 4
    assert sum("the subscription is disabled" in d["last_error"] for d in listed) == 3

    conflict = await office.post(f"/v1/deliveries/{listed[0]['id']}/redeliver", status=409)
    assert conflict["error"]["code"] == "webhook_endpoint_disabled"
    await office.post(f"/v1/webhook_endpoints/{made['id']}/recover", {"since": 0}, status=409)
    await office.post(f"/v1/webhook_endpoints/{made['id']}/enable")
    await office.client.webhooks.update(made["id"], url=receiver.url)
    answer = await office.post(f"/v1/webhook_endpoints/{made['id']}/recover", {"since": 0})
    assert answer["redelivered"] == 4
    await office.deliver()
    assert len(receiver.hooks) == 4
    assert {d["state"] for d in await office.deliveries(made["id"])} == {"delivered"}
    assert (await office.post(f"/v1/webhook_endpoints/{made['id']}/recover", {"since": 0}))["redelivered"] == 0


async def test_120_hours_of_failures_disable_and_one_success_starts_anew(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/500", SUCCEEDED)
    await office.happen()
    await office.deliver()
    since = (await office.get(f"/v1/webhook_endpoints/{made['id']}"))["tunehook"]["failing_since"]
    assert since == pytest.approx(time.time(), abs=5)

    async def fail_since(hours: float) -> dict[str, Any]:
        record = await office.ctx.store.endpoints.read(made["id"])
        long_ago = record.endpoint.model_copy(update={"failing_since": time.time() - hours * 3600})
        await office.ctx.store.commit(record.change(long_ago))
        await office.make_due(made["id"])
        await office.deliver()
        shown: dict[str, Any] = (await office.get(f"/v1/webhook_endpoints/{made['id']}"))["tunehook"]
        return shown

    assert (await fail_since(119.9))["state"] == "enabled"
    disabled = await fail_since(120.1)
    assert disabled["state"] == "disabled"
    assert "120 hours" in disabled["disabled_reason"]
    assert "500" in disabled["disabled_reason"]


async def test_a_success_ends_the_failing(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/500", SUCCEEDED)
    await office.happen()
    await office.deliver()
    await office.client.webhooks.update(made["id"], name="renamed meanwhile")
    assert (await office.get(f"/v1/webhook_endpoints/{made['id']}"))["tunehook"]["failing_since"]
    record = await office.ctx.store.endpoints.read(made["id"])
    better = record.endpoint.model_copy(update={"url": f"{bad.root}/200"})
    await office.ctx.store.commit(record.change(better))
    await office.make_due(made["id"])
    await office.deliver()
    shown = await office.get(f"/v1/webhook_endpoints/{made['id']}")
    assert shown["tunehook"]["failing_since"] is None
    assert shown["name"] == "renamed meanwhile"


async def test_after_the_last_attempt_it_is_given_up(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/500", SUCCEEDED)
    await office.happen()
    delivery_id = (await office.deliveries(made["id"]))[0]["id"]
    for pause in retry_policy.PAUSES:
        await office.deliver()
        assert await office.due_in(delivery_id) == pytest.approx(pause, abs=1.5)
        await office.make_due(made["id"])
    await office.deliver()
    attempts = retry_policy.MAX_ATTEMPTS
    delivery = await office.get(f"/v1/deliveries/{delivery_id}")
    assert (delivery["state"], delivery["attempt_count"], delivery["next_attempt_at"]) == ("failed", attempts, None)
    assert [attempt["number"] for attempt in delivery["attempts"]] == list(range(1, attempts + 1))
    assert len(set(bad.ids)) == 1  # one `webhook-id` throughout
    await office.make_due(made["id"])
    await office.deliver()
    assert len(bad.seen) == attempts


async def test_one_that_hangs_delays_no_other(office: Office, bad: Misbehaving, receiver: Receiver) -> None:
    await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    await office.subscribe(receiver.url, SUCCEEDED)
    step = asyncio.create_task(office.deliver(30.0))
    for count in range(1, 6):
        await office.happen()
        await receiver.wait(count, seconds=60)
    assert not step.done()  # the first attempt at the one that hangs is not over yet
    assert bad.seen
    await ended(step)


async def test_a_silent_receiver_is_known_and_tried_one_at_a_time(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    await office.happen()
    await office.deliver(0.2)
    assert await office.ctx.store.redis.get(f"th:receiver:{made['id']}") == "silent"
    for _ in range(3):
        await office.happen()
    await office.make_due(made["id"])
    await office.deliver(0.2)
    assert len(bad.seen) == 2
    await office.client.webhooks.update(made["id"], url=f"{bad.root}/200")
    await office.make_due(made["id"])
    await office.deliver()
    assert await office.ctx.store.redis.get(f"th:receiver:{made['id']}") == "answering"
    await office.make_due(made["id"])
    await office.deliver()
    assert {d["state"] for d in await office.deliveries(made["id"])} == {"delivered"}


async def test_a_delivery_to_a_silent_receiver_is_nothing_that_the_doctor_finds(
    office: Office, bad: Misbehaving
) -> None:
    await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    await office.happen()
    await office.deliver(0.2)
    found = await doctor.findings(office.ctx.store)
    assert [finding for finding in found if finding.kind == "stuck"] == []


async def test_what_waits_for_a_silent_receiver_is_not_claimed_in_vain(office: Office, bad: Misbehaving) -> None:
    """The doctor called each of them an error, and sent its reader to a log that had nothing to say."""
    made = await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    for _ in range(4):
        await office.happen()
    for _ in range(6):
        await office.make_due(made["id"])
        await office.deliver(0.1)
    found = await doctor.findings(office.ctx.store)
    assert [finding.subject for finding in found if finding.kind == "in vain"] == []


async def test_a_receiver_that_answers_gets_eight_at_a_time(office: Office) -> None:
    """And a burst is delivered without the pause of a claim (20 s) in between."""
    busy, most, count = 0, 0, 0

    async def _take(request: web.Request) -> web.Response:
        nonlocal busy, most, count
        busy, most, count = busy + 1, max(most, busy + 1), count + 1
        await asyncio.sleep(0.02)
        busy -= 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/", _take)
    async with TestServer(app) as server:
        await office.subscribe(str(server.make_url("/")), SUCCEEDED)
        for _ in range(100):
            await office.happen()
        async with asyncio.timeout(19):
            while count < 100:  # on a busy machine, a step ends before the last ones are due
                await office.deliver()
    assert (count, most) == (100, dispatch.WIDTH)


async def test_a_step_that_ends_gives_back_what_waits_for_its_receiver(office: Office) -> None:
    """At once, and not when the claims end after 20 s."""
    stop, count = asyncio.Event(), 0

    async def _take(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count == 2:
            stop.set()
        await asyncio.sleep(0.2)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", _take)
    async with TestServer(app) as server:
        await office.subscribe(str(server.make_url("/")), SUCCEEDED)
        await office.happen()
        await office.deliver()
        for _ in range(20):
            await office.happen()
        await dispatch.dispatch(office.ctx.webhooks, stop)
    redis = office.ctx.store.redis
    now = await redis.time()
    waiting = [at for _, at in await redis.zrange(DUE, 0, -1, withscores=True)]
    assert len(waiting) == 21 - count
    assert waiting
    assert max(waiting) <= now[0] * 1000 + 1000


async def test_very_many_deliveries_to_one_receiver_hold_up_no_other(
    office: Office, bad: Misbehaving, receiver: Receiver
) -> None:
    """The receiver of 3,000 hangs; another one's single delivery, due after them, comes in the same step."""
    made = await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    await office.happen()
    redis = office.ctx.store.redis
    [first] = await office.deliveries(made["id"])
    record = await redis.hgetall(f"th:delivery:{first['id']}")
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(3000):
            twin = {**record, "doc": record["doc"].replace(first["id"], f"dlv_{number}")}
            pipe.hset(f"th:delivery:dlv_{number}", mapping=twin)
            pipe.zadd(DUE, {f"delivery:dlv_{number}": number})
        await pipe.execute()
    await office.subscribe(receiver.url, "fine_tuning.job.failed")
    await office.happen("fine_tuning.job.failed")
    step = asyncio.create_task(office.deliver(15.0))
    await receiver.wait(1, seconds=14)
    assert not step.done()
    assert len(bad.seen) == 1
    assert await redis.zcard(DUE) >= 3001, "postponed, and none is lost"
    await ended(step)


async def test_a_step_that_shall_stop_begins_nothing_more(office: Office, bad: Misbehaving) -> None:
    await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    await office.happen()
    stop = asyncio.Event()
    step = asyncio.create_task(dispatch.dispatch(office.ctx.webhooks, stop, attempt_seconds=1.0))
    await asyncio.wait_for(bad.news.wait(), 120)
    stop.set()
    await office.happen()
    async with asyncio.timeout(120):
        await step
    assert len(bad.seen) == 1
