"""Batches: each request gets its own answers, and an error in one affects no other."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from cli.valkey_process import connect
from tests.fakes.valkey import Valkey, valkey_server
from tunehook.errors import StoreUnavailable
from tunehook.store.engine.batching import BATCH, READ_TRIPS_AT_ONCE, Batcher
from tunehook.store.engine.scripts import Command
from tunehook.store.store import Store


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    store = Store.connect(valkey.url)
    await store.redis.mset({f"th:key-{number}": f"value-{number}" for number in range(500)})
    await store.redis.hset("th:hash", mapping={"a": "1", "b": "2"})
    yield store
    await store.close()


def _round_trips(valkey: Valkey) -> int:
    """Of everybody: how often Redis has been spoken to. A round trip is one read of its socket."""
    with connect(valkey.url) as client:
        stats: dict[str, Any] = client.info("stats")
        return int(stats["total_reads_processed"])


async def test_many_at_once_get_their_own_answers_in_few_round_trips(store: Store, valkey: Valkey) -> None:
    await asyncio.gather(*(store.ask(("GET", "th:key-0")) for _ in range(READ_TRIPS_AT_ONCE)))  # connections are made
    before = _round_trips(valkey)
    answers = await asyncio.gather(*(store.ask(("GET", f"th:key-{n}"), ("HGETALL", "th:hash")) for n in range(500)))
    taken = _round_trips(valkey) - before
    assert answers == [[f"value-{n}", {"a": "1", "b": "2"}] for n in range(500)]
    assert taken < 500 / BATCH * 4  # a full one is a few reads of the socket


async def test_a_mistake_is_its_makers_alone(store: Store) -> None:
    wrong, *right = await asyncio.gather(
        store.ask(("GET", "th:hash")), *(store.ask(("GET", f"th:key-{n}")) for n in range(5)), return_exceptions=True
    )
    assert isinstance(wrong, ResponseError)
    assert right == [[f"value-{n}"] for n in range(5)]


async def test_who_goes_away_leaves_the_others_their_answers(store: Store) -> None:
    leaving = [asyncio.create_task(store.ask(("GET", f"th:key-{n}"))) for n in range(10)]
    staying = [asyncio.create_task(store.ask(("GET", f"th:key-{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    assert await asyncio.gather(*staying) == [[f"value-{n}"] for n in range(10)]
    assert await store.ask(("GET", "th:key-1")) == ["value-1"]


async def test_of_reads_sent_ahead_each_is_answered_by_itself(store: Store) -> None:
    one, wrong, two = (("GET", "th:key-1"),), (("GET", "th:hash"),), (("GET", "th:key-2"), ("HGETALL", "th:hash"))
    with store.reading_ahead([one, wrong, two, (("GET", "th:key-3"),)]):  # the last one is not asked for
        leaving = asyncio.create_task(store.ask(*one))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await store.ask(*two) == ["value-2", {"a": "1", "b": "2"}]
        with pytest.raises(ResponseError):
            await store.ask(*wrong)
        assert await store.ask(*one) == ["value-1"]  # its answer was taken: it is read again
    with store.reading_ahead([]):
        assert await store.ask(*one) == ["value-1"]


async def test_redis_away_is_told_to_all_and_over_when_it_is_back(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey") as server:
        store = Store.connect(server.url)
        await store.redis.set("key", "value")
        server.kill()
        found = await asyncio.gather(*(store.ask(("GET", "key")) for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in found} == {StoreUnavailable}
        server.restart()
        assert await asyncio.gather(*(store.ask(("GET", "key")) for _ in range(20))) == [["value"]] * 20
        await store.close()


async def test_nobody_waits_twice_for_a_redis_that_is_silent(tmp_path: Path) -> None:
    """Two round trips travel at a time; who waits for the next one has waited for Redis as well."""
    silent: set[asyncio.Task[None] | None] = set()

    async def _say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.add(asyncio.current_task())
        try:
            await asyncio.sleep(60)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(_say_nothing, tmp_path / "silent.sock")
    store = Store.connect(f"unix://{tmp_path / 'silent.sock'}", timeout=4.0)
    begun = time.monotonic()
    asked = []
    for _ in range(10):
        asked.append(asyncio.create_task(store.ask(("GET", "x"))))
        await asyncio.sleep(0.01)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert time.monotonic() - begun < 7.5
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    await store.close()
    server.close()
    for task in silent:
        if task is not None:
            task.cancel()
    await asyncio.gather(*(task for task in silent if task), return_exceptions=True)


async def test_a_renewal_of_a_lease_travels_before_what_waits_longer() -> None:
    sent: list[list[Command]] = []
    go_on = asyncio.Event()

    async def _send(commands: list[Command]) -> list[Any]:
        sent.append(commands)
        await go_on.wait()
        return [index for index, _ in enumerate(commands)]

    async with Batcher(_send, at_once=1) as batcher:
        calls = [asyncio.create_task(batcher.run("plan", ["th:due:steps"], ["job:1", "steps", "wake", ""]))]
        await asyncio.sleep(0.01)  # under way
        calls += [asyncio.create_task(batcher.run("plan", ["th:due:steps"], [n])) for n in range(2 * BATCH)]
        await asyncio.sleep(0)
        renewal = asyncio.create_task(batcher.run("lease", ["th:lease:job:1"], ["renew", "token", 15_000]))
        await asyncio.sleep(0)
        go_on.set()
        assert await renewal == 0
        await asyncio.gather(*calls)
    assert [len(commands) for commands in sent] == [1, BATCH, BATCH, 1]
    with pytest.raises(StoreUnavailable):
        await batcher.run("plan", ["th:due:steps"], ["job:1", "steps", "wake", ""])


async def test_results_that_wait_do_not_fail_with_the_batch_before_them() -> None:
    failures = iter([StoreUnavailable()])

    async def _send(commands: list[Command]) -> list[Any]:
        await asyncio.sleep(0.01)
        for failure in failures:
            raise failure
        return ["ok"] * len(commands)

    async with Batcher(_send, at_once=1, fail_queued=False) as batcher:
        calls = (batcher.run("plan", ["th:due:steps"], [number]) for number in range(BATCH + 5))
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * BATCH + [str] * 5


async def test_a_script_that_redis_does_not_know_is_run_by_its_text(store: Store) -> None:
    await store.redis.script_flush()
    async with store.batcher() as batcher:
        taken = [batcher.run("plan", ["th:due:steps"], [f"job:{number}", "steps", "wake", ""]) for number in range(3)]
        await asyncio.gather(*taken)
    assert await store.redis.zcard("th:due:steps") == 3
