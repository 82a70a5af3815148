"""What strikes everybody at once: Redis killed, away, hanging or full; processes stopped; records nobody can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import openai

from tests.chaos.drive import drive
from tests.chaos.faults import Fault, Run
from tests.chaos.town import API_KEY, Town

#: Where a process that is stopped for longer than its lease may do harm: it goes on as if nothing had happened.
STOPS = (
    ("work-horse: POST /fine_tuning/jobs", "before"),
    ("work-horse: POST /fine_tuning/jobs", "after"),
    ("work-horse: commit job creating +intent", "after"),
    ("work-horse: commit job tracked -intent", "before"),
    ("work-horse: commit job settled -intent", "before"),
    ("work-horse: POST /files", "before"),
    ("work-horse: commit copy", "before"),
    ("work-horse: webhook", "before"),
    ("work-horse: webhook", "after"),
    ("work-horse: claim", "after"),
    ("clock: claim", "after"),
)
#: A second is promised; the rest is for a machine that runs other tests beside this one. One answer in four may come
#: later, since such a machine stands still now and then.
SOON = 3.0


@asynccontextmanager
async def redis_killed(place: Town, away: float = 0.0) -> AsyncIterator[None]:
    """SIGKILL, and started again on the same files after `away` seconds."""
    await asyncio.to_thread(place.valkey.kill)
    await asyncio.sleep(away)
    await asyncio.to_thread(place.valkey.restart)
    yield


class Asking:
    """A client that goes on asking for jobs while Redis is away, and notes what it is told and when."""

    def __init__(self, place: Town) -> None:
        self._place = place
        self.answers: list[tuple[int, float]] = []  #: status (0: the connection broke), seconds

    async def ask(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        body = {"training_file": "file-none", "model": "gpt-4.1-mini-2025-04-14"}
        headers = {"authorization": f"Bearer {API_KEY}"}
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                url = f"{self._place.url}/fine_tuning/jobs"
                async with self._place.web.session.post(url, json=body, headers=headers) as answer:
                    await answer.read()
                    status = answer.status
            except aiohttp.ClientError:
                status = 0
            self.answers.append((status, time.monotonic() - begun))
            await asyncio.sleep(0.2)

    def faults(self) -> list[str]:
        wrong = [f"while Redis was away the API answered {status}" for status, _ in self.answers if status != 503]
        slow = sorted(seconds for _, seconds in self.answers)[len(self.answers) * 3 // 4 :]
        return wrong[:3] + ([f"503 took {slow[0]:.2f} s"] if slow[0] > SOON else [])

    def words(self) -> str:
        return f"{len(self.answers)} answers, all 503, the slowest after {max(s for _, s in self.answers):.2f} s"


async def away(place: Town, seconds: float, how: str) -> tuple[list[str], str]:
    """Redis refuses connections, or hangs. Returns what was wrong, and what was seen."""
    place.proxy.away = how
    await asyncio.sleep(0.1)
    asking = Asking(place)
    await asking.ask(seconds)
    place.proxy.away = None
    return asking.faults(), asking.words()


async def full(place: Town, seconds: float) -> tuple[list[str], str]:
    """No write is taken any more: nothing may be accepted, and nothing may be lost."""
    used = int((await place.store.redis.info("memory"))["used_memory"])
    await place.store.redis.config_set("maxmemory", max(1, used // 2))
    asking = Asking(place)
    try:
        client = place.client.with_options(max_retries=0)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                await client.files.create(file=("x.jsonl", b"{}"), purpose="fine-tune")
                status = 200
            except openai.OpenAIError as error:
                status = error.status_code if isinstance(error, openai.APIStatusError) else 0
            asking.answers.append((status, time.monotonic() - begun))
            await asyncio.sleep(0.3)
    finally:
        await place.store.redis.config_set("maxmemory", 0)
    return asking.faults(), asking.words()


async def unreadable(place: Town, number: int) -> list[str]:
    """A job's record, a copy's and a delivery's that no version of the program can make sense of."""
    job_id = f"ftjob-unreadable{number:014d}"
    redis = place.store.redis
    await redis.hset(f"th:job:{job_id}", mapping={"doc": '{"id": 7', "rev": "1", "stage": "accepted"})
    await redis.zadd("th:due:steps", {f"job:{job_id}": 0})
    copy = f"copy:openai:{number:064d}"
    await redis.hset(f"th:{copy}", mapping={"doc": "[]", "rev": "1"})
    await redis.zadd("th:due:bulk", {copy: 0})
    until = time.monotonic() + 120
    while time.monotonic() < until:
        parked = set(await redis.zrange("th:parked", 0, -1))
        if {f"job:{job_id}", copy} <= parked and f"{job_id} is parked" in "".join(p.said() for p in place.workers):
            return []
        await asyncio.sleep(0.2)
    return [f"parked are {parked}, not {job_id} and {copy}; or nothing was said in the log"]


def stops(number: int) -> list[Run]:
    runs = []
    for offset, (point, phase) in enumerate(STOPS):
        fault = Fault(point, "before" if phase == "before" else "after", "stop")
        runs.append(Run(number + offset, "plain", fault))
    return runs


async def during(place: Town, runs: list[Run], disturb: list[float], disturbance: str) -> list[str]:
    """Runs side by side, while the disturbance comes at these seconds after their start."""
    broken: list[str] = []
    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(drive(place, run))
        begun = time.monotonic()
        for at in disturb:
            await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
            if disturbance == "killed":
                async with redis_killed(place):
                    pass
            elif disturbance == "unreadable":
                broken += await unreadable(place, runs[0].number)
    return broken
