"""More is due than can be done: what waits is not handed over again and again, and nothing is parked for waiting."""

from tests.fakes.valkey import Valkey
from tests.integration.conftest import Bench
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking
from worker.scheduler import ENQUEUED, Scheduler, queues


async def test_no_more_is_handed_over_than_is_soon_begun(bench: Bench, valkey: Valkey) -> None:
    """Nobody works here. The clock would claim what waits in RQ each time that its pause is over."""
    redis = bench.ctx.store.redis
    due = {f"copy:openai:{number:064d}": number for number in range(100)}
    await redis.zadd(keys.due("bulk"), due)
    with open_blocking(valkey.url) as connection:
        scheduler = Scheduler(bench.ctx.store, connection, ["openai"])
        for _ in range(30):
            await scheduler.enqueue_due("bulk")
            for member in due:  # 20 s later
                await redis.zincrby(keys.due("bulk"), -20_000, member)
        assert queues(connection)["bulk"].count == ENQUEUED["bulk"]
    claims = await redis.hgetall(keys.CLAIMS)
    assert len(claims) == ENQUEUED["bulk"]
    assert set(claims.values()) == {"1"}
    assert await redis.zcard(keys.PARKED) == 0
