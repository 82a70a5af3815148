"""Pull endpoints: deliveries wait to be fetched, are leased, and what became of them is noted."""

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest

from tests.integration.webhooks.conftest import DUE, Office
from tunehook import api_keys
from tunehook.model.webhook import PULL_IDLE_SECONDS
from tunehook.store.doctor import findings
from tunehook.webhooks import pull

SUCCEEDED = "fine_tuning.job.succeeded"


async def listening(office: Office, name: str = "anna") -> str:
    return str((await office.subscribe(f"pull:{name}", SUCCEEDED))["id"])


async def fetched(office: Office, endpoint_id: str, query: str = "limit=100") -> list[Any]:
    return list((await office.get(f"/v1/webhook_endpoints/{endpoint_id}/stream?{query}"))["data"])


async def reported(office: Office, delivery_id: str, status: int | None = 200, **more: Any) -> Any:
    body = {"status_code": status, "duration_ms": 23, **more}
    return await office.post(f"/v1/deliveries/{delivery_id}/attempts", body)


class Reader:
    """Reads a stream as any SSE client does."""

    def __init__(self, office: Office, endpoint_id: str, query: str = "", last: str | None = None) -> None:
        self._url = f"/v1/webhook_endpoints/{endpoint_id}/stream{query}"
        self._headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
        self._http = office.http
        self.got: list[Any] = []
        self.ids: list[str] = []
        self._news = asyncio.Condition()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with self._http.stream("GET", self._url, headers=self._headers, timeout=None) as response:
            assert response.status_code == 200
            async for event in httpx2.EventSource(response):
                async with self._news:
                    self.got.append(json.loads(event.data))
                    self.ids.append(event.id)
                    self._news.notify_all()

    async def has(self, count: int) -> list[Any]:
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: len(self.got) >= count)
        return self.got

    async def killed(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_delivery_waits_is_fetched_signed_and_logged_like_any_other(office: Office) -> None:
    made = await office.subscribe("pull:anna", SUCCEEDED)
    job = await office.happen()
    await office.deliver()
    assert await office.ctx.store.redis.zcard(DUE) == 0
    assert "stuck" not in {one.kind for one in await findings(office.ctx.store)}
    [waiting] = await office.deliveries(made["id"])
    assert (waiting["state"], waiting["attempt_count"], waiting["url"]) == ("pending", 0, "pull:anna")
    [handed] = await fetched(office, made["id"])
    assert (handed["id"], handed["job_id"], handed["attempt"]) == (waiting["id"], job.id, 1)
    secret = made["signing_secret"]
    event = office.client.webhooks.unwrap(handed["body"], handed["headers"], secret=secret)
    assert (event.id, event.type) == (handed["headers"]["webhook-id"], SUCCEEDED)
    shown = await reported(office, handed["id"], response_body="fine", started_at=time.time())
    assert (shown["state"], shown["last_status_code"]) == ("delivered", 200)
    [attempt] = shown["attempts"]
    assert (attempt["status_code"], attempt["duration_ms"], attempt["response_body"]) == (200, 23, "fine")
    assert await fetched(office, made["id"]) == []


async def test_a_failure_follows_the_schedule_and_disables_nothing(office: Office) -> None:
    endpoint_id = await listening(office)
    await office.happen()
    [handed] = await fetched(office, endpoint_id)
    queue = f"th:pull:{endpoint_id}"
    for number, status in enumerate([500, 410, None], 1):
        if number == 2:  # asked for again after each end
            continue
        more = {} if status else {"error": "nothing listens on port 3000"}
        shown = await reported(office, handed["id"], status, **more)
        assert shown["state"] == "pending"
    at = await office.ctx.store.redis.zscore(queue, handed["id"]) - await office.ctx.store.now_ms()
    assert at == pytest.approx(300_000, abs=60_000)  # the second pause
    assert "nothing listens" in shown["last_error"]
    assert (await reported(office, handed["id"], 410))["state"] == "failed"
    endpoint = await office.get(f"/v1/webhook_endpoints/{endpoint_id}")
    assert (endpoint["tunehook"]["state"], endpoint["tunehook"]["failing_since"]) == ("enabled", None)
    recovered = await office.post(f"/v1/webhook_endpoints/{endpoint_id}/recover", {"since": 0})
    assert recovered["redelivered"] == 1
    [again] = await fetched(office, endpoint_id)
    assert (again["id"], again["attempt"]) == (handed["id"], 4)
    await reported(office, handed["id"])
    await office.post(f"/v1/deliveries/{handed['id']}/redeliver")
    assert [one["id"] for one in await fetched(office, endpoint_id)] == [handed["id"]]


async def test_two_readers_share_and_an_unreported_delivery_comes_again_after_its_lease(office: Office) -> None:
    endpoint_id = await listening(office)
    for _ in range(3):
        await office.happen()
    page = await office.get(f"/v1/webhook_endpoints/{endpoint_id}/stream?limit=2&lease_seconds=1")
    assert page["has_more"]
    rest = await fetched(office, endpoint_id)
    assert len({one["id"] for one in (*page["data"], *rest)}) == 3
    assert await fetched(office, endpoint_id) == []
    await reported(office, page["data"][0]["id"])
    await asyncio.sleep(1.1)
    assert [one["id"] for one in await fetched(office, endpoint_id)] == [page["data"][1]["id"]]


async def test_what_was_lost_behind_the_last_received_comes_again_at_once(office: Office) -> None:
    endpoint_id = await listening(office)
    for _ in range(5):
        await office.happen()
    mine = await fetched(office, endpoint_id, "limit=4")
    other = await fetched(office, endpoint_id)
    await reported(office, mine[0]["id"])
    await reported(office, mine[3]["id"], 500)  # its next attempt is in 5 s
    again = await fetched(office, endpoint_id, f"after={mine[0]['id']}")
    assert [one["id"] for one in again] == [mine[1]["id"], mine[2]["id"]]
    assert other[0]["id"] not in {one["id"] for one in again}


async def test_a_reader_of_one_job_leaves_all_others(office: Office) -> None:
    endpoint_id = await listening(office)
    first, mine, last = [await office.happen() for _ in range(3)]
    [handed] = await fetched(office, endpoint_id, f"limit=1&job={mine.id}")
    assert handed["job_id"] == mine.id
    assert await fetched(office, endpoint_id, f"limit=9&job={mine.id}") == []
    assert await fetched(office, endpoint_id, "limit=9&job=ftjob-none") == []
    assert {one["job_id"] for one in await fetched(office, endpoint_id)} == {first.id, last.id}
    await reported(office, handed["id"])
    await office.post(f"/v1/deliveries/{handed['id']}/redeliver")
    reader = Reader(office, endpoint_id, f"?job={mine.id}")
    assert [one["id"] for one in await reader.has(1)] == [handed["id"]]
    await reader.killed()


async def test_a_stream_hands_out_no_more_than_its_reader_can_hold(office: Office) -> None:
    endpoint_id = await listening(office)
    reader = Reader(office, endpoint_id, "?limit=2")
    for _ in range(4):
        await office.happen()
    first = list(await reader.has(2))
    await asyncio.sleep(0.3)
    assert len(reader.got) == 2, "more than it can hold"
    await reported(office, first[0]["id"])
    await reader.has(3)
    assert reader.ids == [one["id"] for one in reader.got]
    await reader.killed()
    resumed = Reader(office, endpoint_id, last=reader.ids[1])
    await resumed.has(2)
    assert {one["id"] for one in resumed.got}.isdisjoint(reader.ids[:2])
    assert reader.ids[2] in {one["id"] for one in resumed.got}, "it was lost on its way, and comes at once"
    await resumed.killed()


async def test_a_stream_ends_with_its_endpoint_or_its_key(office: Office) -> None:
    endpoint_id = await listening(office)
    reader = Reader(office, endpoint_id)
    await office.happen()
    await reader.has(1)
    await office.client.webhooks.delete(endpoint_id)
    async with asyncio.timeout(60):
        await reader.task
    await office.deliver()
    delivery = await office.get(f"/v1/deliveries/{reader.ids[0]}")
    assert (delivery["state"], delivery["last_error"]) == ("failed", "the subscription was deleted")
    assert [name async for name in office.ctx.store.redis.scan_iter(match="th:pull*")] == []
    other = Reader(office, await listening(office))
    await asyncio.sleep(0.2)
    await api_keys.revoke(office.ctx.store, office.key)
    async with asyncio.timeout(60):
        await other.task


async def test_a_stream_ends_with_the_time_of_its_key(office: Office) -> None:
    reader = Reader(office, await listening(office))
    await asyncio.sleep(0.2)
    store = office.ctx.store
    key = await api_keys.find(store, office.key)
    await store.api_keys.replace(key, key.model_copy(update={"expires_at": int(time.time())}))
    async with asyncio.timeout(60):
        await reader.task


async def test_a_report_that_is_sent_twice_is_noted_once(office: Office) -> None:
    endpoint_id = await listening(office)
    await office.happen()
    [handed] = await fetched(office, endpoint_id)
    for status in (503, 200):
        moment = time.time()
        for _ in range(2):
            shown = await reported(office, handed["id"], status, started_at=moment)
    assert [attempt["status_code"] for attempt in shown["attempts"]] == [503, 200]
    error = await office.post(f"/v1/deliveries/{handed['id']}/attempts", {"status_code": 500}, status=409)
    assert error["error"]["code"] == "delivery_not_pending"


async def test_a_test_waits_for_a_reader_and_the_new_secret_signs(office: Office) -> None:
    endpoint_id = await listening(office)
    secret = (await office.post(f"/v1/webhook_endpoints/{endpoint_id}/rotate_secret"))["signing_secret"]
    reader = Reader(office, endpoint_id)
    testing = asyncio.create_task(office.post(f"/v1/webhook_endpoints/{endpoint_id}/test", {"event_type": SUCCEEDED}))
    [handed] = await reader.has(1)
    office.client.webhooks.unwrap(handed["body"], handed["headers"], secret=secret)
    await reported(office, handed["id"], 418)
    assert (await testing)["status_code"] == 418
    await reader.killed()


async def test_five_of_a_project_each_name_once_and_none_becomes_another_kind(office: Office) -> None:
    ids = [await listening(office, f"n{number}") for number in range(5)]
    refused = await office.post("/v1/webhook_endpoints", {"name": "6", "url": "pull:n6"}, status=400)
    assert refused["error"]["code"] == "too_many_pull_endpoints"
    taken = await office.post("/v1/webhook_endpoints", {"name": "x", "url": "pull:n0"}, status=409)
    assert taken["error"]["code"] == "pull_name_taken"
    await office.client.webhooks.delete(ids[0])
    await listening(office, "n0")
    await office.post(f"/v1/webhook_endpoints/{ids[1]}", {"url": "https://you.example/hooks"}, status=400)
    await office.post(f"/v1/webhook_endpoints/{ids[1]}", {"url": "pull:renamed"})
    await office.post(f"/v1/webhook_endpoints/{ids[1]}", {"url": "pull:n2"}, status=409)


async def test_of_two_that_take_a_name_at_once_one_is_refused(office: Office) -> None:
    await listening(office, "before")
    body = {"name": "x", "url": "pull:anna"}
    made = await asyncio.gather(*(office.http.post("/v1/webhook_endpoints", json=body) for _ in range(5)))
    assert sorted(answer.status_code for answer in made) == [200, 409, 409, 409, 409]
    [taken] = {answer.json()["id"] for answer in made if answer.status_code == 200}
    other = await listening(office, "other")
    paths = [f"/v1/webhook_endpoints/{one}" for one in (taken, other)]
    renamed = await asyncio.gather(*(office.http.post(path, json={"url": "pull:new"}) for path in paths))
    assert sorted(answer.status_code for answer in renamed) == [200, 409]
    await listening(office, "anna" if renamed[0].status_code == 200 else "other")


@pytest.mark.parametrize("url", ["pull:", "pull:../x", "pull: a", "pull:" + "a" * 65, "PULL:a", "pull:a\n", "pull:é"])
async def test_a_bad_name_is_refused(office: Office, url: str) -> None:
    await office.post("/v1/webhook_endpoints", {"name": "x", "url": url}, status=400)


@pytest.mark.parametrize(
    "body",
    [{}, {"status_code": 99}, {"status_code": "200"}, {"error": ""}, {"status_code": 200, "duration_ms": -1},
     {"status_code": 200, "answer": "x"}, {"error": None}],
)  # fmt: skip
async def test_a_bad_report_is_refused(office: Office, body: dict[str, Any]) -> None:
    endpoint_id = await listening(office)
    await office.happen()
    [handed] = await fetched(office, endpoint_id)
    await office.post(f"/v1/deliveries/{handed['id']}/attempts", body, status=400)
    assert (await office.get(f"/v1/deliveries/{handed['id']}"))["attempts"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "lease_seconds=0", "after=dlv_no", "afer=x"])
async def test_a_bad_query_is_refused(office: Office, query: str) -> None:
    await office.get(f"/v1/webhook_endpoints/{await listening(office)}/stream?{query}", status=400)


async def test_other_endpoints_are_not_read_and_other_projects_see_nothing(offices: list[Office]) -> None:
    office, stranger = offices
    sent = (await office.subscribe("https://you.example/hooks", SUCCEEDED))["id"]
    await office.happen()
    [delivery] = await office.deliveries(sent)
    for error in (
        await office.get(f"/v1/webhook_endpoints/{sent}/stream", status=409),
        await office.post(f"/v1/deliveries/{delivery['id']}/attempts", {"status_code": 200}, status=409),
    ):
        assert error["error"]["code"] == "not_a_pull_endpoint"
    endpoint_id = await listening(office)
    await office.happen()
    [handed] = await fetched(office, endpoint_id)
    await stranger.get(f"/v1/webhook_endpoints/{endpoint_id}/stream?limit=1", status=404)
    await stranger.post(f"/v1/deliveries/{handed['id']}/attempts", {"status_code": 200}, status=404)
    await stranger.get(f"/v1/webhook_endpoints/{await listening(stranger)}/stream?after={handed['id']}", status=400)


async def test_one_that_nobody_reads_goes_after_seven_days(office: Office) -> None:
    endpoint_id, read_id = await listening(office), await listening(office, "read")
    await office.happen()
    redis, pulls = office.ctx.store.redis, f"th:pulls:{office.project}"
    for name in (endpoint_id, read_id):
        await redis.zincrby(pulls, -PULL_IDLE_SECONDS * 1000, name)
    await fetched(office, read_id)
    assert await pull.delete_idle(office.ctx.webhooks) == 1
    await office.get(f"/v1/webhook_endpoints/{endpoint_id}", status=404)
    await office.get(f"/v1/webhook_endpoints/{read_id}")
    await office.deliver()
    [delivery] = [one for one in await office.deliveries(read_id) if one["state"] == "pending"]
    assert delivery["url"] == "pull:read"
    assert await redis.zcard(DUE) == 0


async def test_what_an_earlier_version_planned_for_sending_waits_to_be_fetched(office: Office) -> None:
    endpoint_id = await listening(office)
    await office.happen()
    [delivery] = await office.deliveries(endpoint_id)
    redis = office.ctx.store.redis
    await redis.zrem(f"th:pull:{endpoint_id}", delivery["id"])
    await redis.zadd(DUE, {f"delivery:{delivery['id']}": 0})
    await office.deliver()
    assert await redis.zcard(DUE) == 0
    [handed] = await fetched(office, endpoint_id)
    assert (handed["id"], handed["attempt"]) == (delivery["id"], 1)
