"""Test webhooks: a few at a time, whatever a receiver does."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.limits import AT_ONCE, OF_A_PROJECT, ProjectLimit
from tests.fakes.misbehaving_receiver import Misbehaving
from tests.integration.webhooks.conftest import Office
from tunehook.errors import TooManyTests

KIND = "fine_tuning.job.succeeded"


async def tried(office: Office, endpoint: Any, status: int) -> Any:
    return await office.post(f"/v1/webhook_endpoints/{endpoint['id']}/test", {"event_type": KIND}, status=status)


async def posted_to(bad: Misbehaving, count: int) -> None:
    async with asyncio.timeout(120):
        while len(bad.seen) < count:
            bad.news.clear()
            await bad.news.wait()


async def test_a_project_has_two_tests_under_way_and_another_its_own(offices: list[Office], bad: Misbehaving) -> None:
    hanging = [await office.subscribe(f"{bad.root}/hang", KIND) for office in offices]
    async with asyncio.TaskGroup() as group:
        for _ in range(OF_A_PROJECT):
            group.create_task(tried(offices[0], hanging[0], 400))
        await posted_to(bad, OF_A_PROJECT)
        refused = await tried(offices[0], hanging[0], 429)
        assert refused["error"]["code"] == "too_many_tests"
        group.create_task(tried(offices[1], hanging[1], 400))
        await posted_to(bad, OF_A_PROJECT + 1)
        bad.close()  # so that none of them waits its 15 s
    answering = await offices[0].subscribe(f"{bad.root}/200", KIND)
    assert (await tried(offices[0], answering, 200))["status_code"] == 200


async def test_all_projects_together_have_so_many_turns_and_who_comes_then_waits() -> None:
    turns = ProjectLimit()

    async def one_more() -> None:
        async with turns.turn("last"):
            pass

    async with AsyncExitStack() as stack:
        for number in range(AT_ONCE):
            await stack.enter_async_context(turns.turn(f"project {number // OF_A_PROJECT}"))
        with pytest.raises(TooManyTests):
            await stack.enter_async_context(turns.turn("project 0"))
        waiting = asyncio.create_task(one_more())
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
    await waiting
