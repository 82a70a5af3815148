"""From nine tenths of Redis' memory on, nothing new is let in, and what was accepted has the last tenth."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import aiohttp
import pytest

from tests.fakes.receiver import Receiver, running_receiver
from tests.integration.service.conftest import DATASET, Api, form
from tunehook.errors import StoreNearlyFull
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.maintenance import retention
from tunehook.model.job import Stage
from tunehook.store.jobs import JobRecord
from tunehook.store.redis_health import RedisHealth
from tunehook.webhooks import dispatch

FILLER = 20_000_000
ENDPOINT = {"url": "https://example.com/hook", "name": "n", "event_types": ["fine_tuning.job.succeeded"]}
MODEL = "gpt-4.1-mini-2025-04-14"


@asynccontextmanager
async def filled(api: Api, share: float) -> AsyncIterator[None]:
    """Redis has used so much of what it may."""
    redis = api.ctx.store.redis
    await redis.setrange("th:filler", FILLER, "x")
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / share))
    try:
        yield
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.delete("th:filler")


def part() -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("data", b"x", filename="part")
    return data


def makers(api: Api) -> list[tuple[str, dict[str, Any]]]:
    pairs = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(12)]
    upload = {"filename": "a.jsonl", "bytes": 10, "purpose": "fine-tune", "mime_type": "text/jsonl"}
    return [
        ("/v1/files", {"data": form(DATASET)}),
        ("/v1/datasets", {"json": {"pairs": pairs}}),
        ("/v1/uploads", {"json": upload}),
        ("/v1/uploads/{upload_id}/parts", {"data": part()}),
        ("/v1/fine_tuning/jobs", {"json": {"model": MODEL, "training_file": api.ids["file_id"]}}),
        ("/v1/fine_tuning/jobs/import", {"json": {"upstream": "openai", "upstream_job_id": "ftjob-1"}}),
        ("/v1/webhook_endpoints", {"json": ENDPOINT}),
    ]


async def job_until_tracked(api: Api, job_id: str) -> JobRecord:
    for _ in range(6):
        await lifecycle.advance(api.ctx, job_id)
        record = await api.ctx.store.jobs.read(job_id)
        if record.job.stage is Stage.TRACKED:
            return record
        for file in record.job.files:
            await copy_step.copy_to_upstream(api.ctx, "openai", file.sha256)
    raise AssertionError(f"it is {record}")


async def test_nothing_new_is_taken_and_what_was_accepted_goes_on_to_its_webhook(furnished: Api) -> None:
    api = furnished
    async with running_receiver() as receiver:
        body = {"model": MODEL, "training_file": api.ids["file_id"], "callback_url": receiver.url}
        first, second = [(await api.post("/v1/fine_tuning/jobs", body | {"seed": n}))["id"] for n in (1, 2)]
        await job_until_tracked(api, first)
        async with filled(api, 0.93):
            await until_refused(api)
            for path, options in makers(api):
                answer = await api.call("POST", api.path(path), **options)
                assert (path, answer.status, answer.error["code"]) == (path, 503, "store_nearly_full")
            await what_was_accepted_goes_on(api, receiver, first, second)
        await until_taken(api)


async def what_was_accepted_goes_on(api: Api, receiver: Receiver, first: str, second: str) -> None:
    await job_until_tracked(api, second)
    assert "look:openai" in (await api.ctx.store.claim("polls", 100)).members
    assert (await api.call("POST", f"/v1/fine_tuning/jobs/{second}/cancel")).status == 200
    await lifecycle.advance(api.ctx, second)
    await api.simulator.advance(24 * 3600)
    async with asyncio.timeout(90):
        while len(receiver.hooks) < 2:  # a busy machine may make the first attempt late
            await poller.poll(api.ctx, "openai")
            await dispatch.dispatch(api.ctx.webhooks)
            await asyncio.sleep(0.2)
    ends = {hook.event["data"]["id"]: hook.event["data"]["status"] for hook in await receiver.wait(2)}
    assert ends == {first: "succeeded", second: "cancelled"}
    await retention.sweep(api.ctx)
    assert (await api.call("POST", api.path("/v1/uploads/{upload_id}/cancel"))).status == 200
    assert (await api.call("DELETE", api.path("/v1/webhook_endpoints/{webhook_endpoint_id}"))).status == 200


async def until_refused(api: Api) -> None:
    """The API knows within a second; a call without an address is told so, or that Redis is nearly full."""
    await until(api, 503)


async def until_taken(api: Api) -> None:
    await until(api, 400)


async def until(api: Api, status: int) -> None:
    limit = time.monotonic() + 60
    while (await api.call("POST", "/v1/webhook_endpoints", json={"name": "n"})).status != status:
        assert time.monotonic() < limit


@pytest.mark.parametrize(("share", "full"), [(0.5, False), (0.87, False), (0.92, True)])
async def test_nine_tenths_are_the_limit_and_a_redis_without_one_is_never_full(
    api: Api, share: float, full: bool
) -> None:
    await RedisHealth(api.ctx.store).check_room()
    async with filled(api, share):
        with pytest.raises(StoreNearlyFull) if full else nullcontext():
            await RedisHealth(api.ctx.store).check_room()


async def test_redis_is_asked_once_a_second_at_most(furnished: Api) -> None:
    async def asked() -> int:
        return int((await furnished.ctx.store.redis.info("commandstats"))["cmdstat_info"]["calls"])

    before, begun = await asked(), time.monotonic()
    for _ in range(20):
        await furnished.call("POST", "/v1/webhook_endpoints", json={"name": "n"})
    calls, seconds = await asked() - before - 1, time.monotonic() - begun
    assert calls <= 1 + seconds
