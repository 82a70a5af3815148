"""What a POST and a GET of a job ask of Redis: each command and each round trip is CPU of every request."""

from collections.abc import Awaitable, Callable

from tests.integration.service.conftest import Api

#: Asked by the test, once a connection, or once a second.
_BESIDE = ("info", "config|", "client|", "hello", "ping")


async def asked(api: Api, request: Callable[[], Awaitable[object]]) -> tuple[int, int]:
    """Returns how many commands Redis carries out for a request, those in scripts included, in how many round trips.

    The least of three: once a second, a POST asks for the room that Redis has.
    """
    redis, found = api.ctx.store.redis, []
    for _ in range(3):
        await redis.config_resetstat()
        await request()
        commands = await redis.info("commandstats")
        reads = (await redis.info("stats"))["total_reads_processed"]
        names = {name.removeprefix("cmdstat_"): row["calls"] for name, row in commands.items()}
        calls = sum(count for name, count in names.items() if not name.startswith(_BESIDE))
        found.append((calls, reads - 2))  # the two INFO
    return min(found)


async def test_a_post_and_a_get_of_a_job_ask_no_more_than_they_need(furnished: Api) -> None:
    jobs = "/v1/fine_tuning/jobs"
    body = {
        "model": "gpt-4.1-mini-2025-04-14",
        "training_file": furnished.ids["file_id"],
        "metadata": {"a": "b"},
        "callback_url": "http://127.0.0.1:9/hook",
    }
    job = furnished.path(jobs + "/{fine_tuning_job_id}")
    calls, trips = await asked(furnished, lambda: furnished.post(jobs, body))
    assert calls <= 29, "add a read only where it is worth its time in every POST"
    assert trips <= 3, "send reads that do not need one another's answers together"
    assert await asked(furnished, lambda: furnished.call("GET", job)) <= (3, 1)
