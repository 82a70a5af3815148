"""`tunehook doctor`: each inconsistency made by hand, found, mended where that is safe, and gone."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.valkey import Valkey
from tests.integration.conftest import Bench
from tunehook.model.member import copy_member
from tunehook.model.webhook import Delivery
from tunehook.store.doctor import findings
from tunehook.store.engine import keys

pytestmark = pytest.mark.processes

COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", "doctor"]


def doctor(valkey: Valkey, *arguments: str) -> tuple[int, str]:
    environment = {"PATH": os.environ["PATH"], "REDIS_URL": valkey.url}
    done = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


Breaking = Callable[[Bench, str], Awaitable[str]]


async def forget(bench: Bench, job_id: str) -> str:
    await bench.ctx.store.redis.zrem(keys.due("steps"), f"job:{job_id}")
    return f"job:{job_id}"


async def park(bench: Bench, job_id: str) -> str:
    await bench.ctx.store.park(f"job:{job_id}")
    return f"job:{job_id}"


async def hide(bench: Bench, job_id: str) -> str:
    record = await bench.until_tracked(job_id)
    await bench.ctx.store.redis.hdel(keys.live("openai"), record.job.upstream_job_id)
    return f"job:{job_id}"


async def orphan(bench: Bench, job_id: str) -> str:
    await bench.ctx.store.redis.hset(keys.live("openai"), "ftjob-nobody", "ftjob-gone x")
    await bench.ctx.store.wake("look:openai")
    return "ftjob-nobody"


async def queued(bench: Bench, job_id: str) -> str:
    await bench.ctx.store.redis.zadd(keys.waiting("openai"), {"ftjob-gone": 1})
    return "ftjob-gone"


async def lease(bench: Bench, job_id: str) -> str:
    await bench.ctx.store.redis.set(keys.lease(f"job:{job_id}"), "for ever")
    return keys.lease(f"job:{job_id}")


async def upload(bench: Bench, job_id: str) -> str:
    from tunehook.jobs import lifecycle  # noqa: PLC0415

    await lifecycle.advance(bench.ctx, job_id)
    member = copy_member("openai", (await bench.read(job_id)).job.training.sha256)
    await bench.ctx.store.redis.zrem(keys.due("bulk"), member)
    return member


async def delivery(bench: Bench, job_id: str) -> str:
    lost = Delivery(
        id="dlv_lost", event_id="evt_x", event_type="x", project="p", url="https://x.example/", lane="l", created_at=1
    )
    await bench.ctx.store.redis.hset(keys.delivery(lost.id), mapping={"rev": 1, "doc": lost.model_dump_json()})
    return lost.id


async def test_what_is_wrong_is_found_mended_and_gone(bench: Bench, valkey: Valkey) -> None:
    """All at once: a program that starts costs more than all that it finds."""
    wrongs: list[Breaking] = [forget, park, hide, orphan, queued, lease, upload, delivery]
    job_ids = [await bench.accept() for _ in wrongs]
    assert doctor(valkey)[0] == 0
    subjects = [await breaking(bench, job_id) for breaking, job_id in zip(wrongs, job_ids, strict=True)]
    status, text = doctor(valkey, "--json")
    grave = [found for found in json.loads(text) if found["grave"]]
    assert (status, sorted(found["subject"] for found in grave)) == (1, sorted(subjects))
    status, text = doctor(valkey, "--fix")
    assert status == 0
    assert text.count("[mended]") == len(wrongs)
    assert doctor(valkey)[0] == 0
    assert not await bench.forgotten()


async def test_what_nobody_can_read_is_told_and_not_touched(bench: Bench, valkey: Valkey) -> None:
    job_id = await bench.accept()
    redis = bench.ctx.store.redis
    await redis.hset(keys.job(job_id), "doc", "not a job")
    await bench.ctx.store.park(f"job:{job_id}")
    status, text = doctor(valkey, "--fix")
    assert status == 1
    assert "mend or delete it by hand" in text
    assert await redis.hget(keys.job(job_id), "doc") == "not a job"


async def test_failed_steps_and_a_clock_that_stands_are_worth_knowing(bench: Bench, valkey: Valkey) -> None:
    redis = bench.ctx.store.redis
    await redis.zadd("rq:failed:steps", {"some-id": 1})
    await redis.hset("rq:job:some-id", "description", "worker.steps.job ftjob-x")
    status, text = doctor(valkey)
    assert status == 0
    assert "1 steps failed lately: worker.steps.job ftjob-x" in text
    assert "no scheduler has ticked ever" in text


async def test_memory_does_not_grow_with_the_jobs_that_have_ended(bench: Bench) -> None:
    redis = bench.ctx.store.redis
    job = (await bench.read(await bench.accept())).job
    settled = job.settled("cancelled", now=1, seen=None, error=None, result_files={}).model_dump_json()
    peaks = []
    for count in (2000, 8000):
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(count):
                pipe.hset(keys.job(f"ftjob-{number}"), mapping={"rev": 1, "stage": "settled", "doc": settled})
            await pipe.execute()
        tracemalloc.start()
        await findings(bench.ctx.store)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks
