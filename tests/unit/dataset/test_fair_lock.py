"""Who brings much work waits behind their own."""

import asyncio
import gc

from tunehook.dataset.process import FairLock


async def test_projects_have_turns_however_much_one_of_them_brings() -> None:
    turns, order = FairLock(), list[str]()

    async def work(project: str) -> None:
        async with turns.turn(project):
            order.append(project)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for project in ("a", "a", "a", "a", "a", "b", "b", "c"):
            group.create_task(work(project))
    assert order == ["a", "b", "c", "a", "b", "a", "a", "a"]


async def test_one_that_gives_up_holds_up_nobody() -> None:
    turns = FairLock()
    async with turns.turn("a"):
        waiting = [asyncio.create_task(_turn(turns, project)) for project in ("a", "b", "b")]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
    async with asyncio.timeout(60):
        assert await asyncio.gather(*waiting[2:]) == ["b"]
        assert await _turn(turns, "a") == "a"


async def test_who_was_here_is_not_remembered() -> None:
    turns = FairLock()
    for number in range(100):
        await _turn(turns, str(number))
    gc.collect()
    assert len(turns._own) == 0


async def _turn(turns: FairLock, project: str) -> str:
    async with turns.turn(project):
        return project
