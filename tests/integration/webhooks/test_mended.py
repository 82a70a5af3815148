"""An endpoint that its owner mends while an attempt is under way: what came of that attempt disables it no more."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.fakes.receiver import Receiver
from tests.integration.webhooks.conftest import Office

SUCCEEDED = "fine_tuning.job.succeeded"
Meanwhile = Callable[[], Awaitable[object]]


class Slow:
    """A receiver; `meanwhile` happens before it answers with `status`."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.meanwhile: Meanwhile | None = None

    async def take(self, request: web.Request) -> web.Response:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return web.Response(status=self.status)


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    receiver, app = Slow(), web.Application()
    app.router.add_post("/", receiver.take)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/"))
        yield receiver


async def state_of(office: Office, endpoint_id: str) -> tuple[str, float | None]:
    shown = (await office.get(f"/v1/webhook_endpoints/{endpoint_id}"))["tunehook"]
    return shown["state"], shown["failing_since"]


async def failing_for(office: Office, endpoint_id: str, hours: float) -> None:
    record = await office.ctx.store.endpoints.read(endpoint_id)
    failing = record.endpoint.model_copy(update={"failing_since": time.time() - hours * 3600})
    await office.ctx.store.commit(record.change(failing))


@pytest.mark.parametrize(("status", "hours"), [(410, 0.0), (500, 121.0)])
async def test_an_attempt_at_the_old_url_says_nothing_of_the_new_one(
    office: Office, slow: Slow, receiver: Receiver, status: int, hours: float
) -> None:
    made = await office.subscribe(slow.url, SUCCEEDED)
    if hours:
        await failing_for(office, made["id"], hours)
    await office.happen()
    slow.status = status
    slow.meanwhile = lambda: office.client.webhooks.update(made["id"], url=receiver.url)
    await office.deliver()
    assert await state_of(office, made["id"]) == ("enabled", None)
    next_job = await office.happen()
    await office.deliver()
    assert receiver.hooks[-1].event["data"]["id"] == next_job.id


async def test_an_endpoint_that_was_enabled_meanwhile_has_its_whole_time_again(office: Office, slow: Slow) -> None:
    made = await office.subscribe(slow.url, SUCCEEDED)
    await failing_for(office, made["id"], 121)
    await office.happen()

    async def _disabled_and_enabled() -> None:
        record = await office.ctx.store.endpoints.read(made["id"])
        await office.ctx.store.commit(record.change(record.endpoint.disabled("by another attempt", now=1)))
        await office.post(f"/v1/webhook_endpoints/{made['id']}/enable")

    slow.status, slow.meanwhile = 500, _disabled_and_enabled
    await office.deliver()
    state, since = await state_of(office, made["id"])
    assert state == "enabled"
    assert since == pytest.approx(time.time(), abs=10)


async def test_one_that_was_not_touched_is_disabled_as_ever(office: Office, slow: Slow) -> None:
    made = await office.subscribe(slow.url, SUCCEEDED)
    await failing_for(office, made["id"], 121)
    await office.happen()
    slow.status = 500
    slow.meanwhile = lambda: office.client.webhooks.update(made["id"], name="renamed meanwhile")
    await office.deliver()
    assert (await state_of(office, made["id"]))[0] == "disabled"
