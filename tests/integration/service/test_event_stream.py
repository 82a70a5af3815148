"""Followers when Redis goes and comes back, and when the process stops; the API in the test's own loop."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cli.valkey_process import connect
from service.app import build_app
from service.followers import BLOCK_SECONDS
from service.streams import KEYS_SECONDS
from tests.fakes.context import opened_context
from tests.fakes.valkey import Valkey, valkey_server
from tunehook import api_keys
from tunehook.context import Context
from tunehook.jobs import acceptance, commands
from tunehook.model.file import File
from tunehook.model.job import FileRef, Job, JobSpec, Message
from tunehook.model.record import new_id


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Valkey]:
    """A server that the test may kill."""
    with valkey_server(tmp_path / "valkey") as server:
        yield server


@dataclass
class Api:
    ctx: Context
    url: str
    headers: dict[str, str]
    runner: web.AppRunner


@asynccontextmanager
async def running(valkey: Valkey, directory: Path) -> AsyncIterator[Api]:
    async with opened_context(valkey.url, directory) as ctx:
        key, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="acme", name="test")
        runner = web.AppRunner(build_app(ctx), access_log=None, shutdown_timeout=60)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Api(ctx, f"http://127.0.0.1:{runner.addresses[0][1]}", {"authorization": f"Bearer {key}"}, runner)
        finally:
            await runner.cleanup()


async def submitted(ctx: Context) -> str:
    file = File(
        id=new_id("file-"), project="acme", filename="a", purpose="fine-tune", bytes=1, created_at=1, sha256="00"
    )
    await ctx.store.files.add(file)
    job = Job(
        id=new_id("ftjob-"),
        project="acme",
        key_id="key",
        created_at=int(time.time()),
        spec=JobSpec(model="m", training_file=file.id, seed=1),
        upstream="openai",
        training=FileRef(id=file.id, sha256="00", bytes=1),
    )
    await acceptance.accept(ctx, job, remember=[], recall=[])
    return job.id


async def say(ctx: Context, job_id: str, text: str) -> None:
    await ctx.store.job_log.append(job_id, [Message(created_at=1, message=text)])


async def another_key(api: Api) -> str:
    key, _ = await api_keys.create(api.ctx.store, api.ctx.webhooks.encryption, project="acme", name="another")
    return key


class Follower:
    """Reads a stream in the background; `heard` are the messages so far."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None = None) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Condition()
        headers = {"accept": "text/event-stream"} | ({"authorization": f"Bearer {key}"} if key else {})
        self.task = asyncio.create_task(self._read(session, url, headers))

    async def _read(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        async with session.get(url, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                    async with self._news:
                        self.heard.append(event["message"])
                        self._news.notify_all()

    async def hears(self, text: str) -> None:
        """Waits for a message; the time limit is the test's."""
        async with self._news:
            await self._news.wait_for(lambda: text in self.heard)


async def test_followers_miss_nothing_when_redis_dies_and_comes_back(mortal: Valkey, tmp_path: Path) -> None:
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        job_id = await submitted(api.ctx)
        url = f"{api.url}/v1/fine_tuning/jobs/{job_id}"
        followers = [Follower(session, f"{url}/events") for _ in range(5)]
        waiting = asyncio.create_task(session.get(f"{url}?wait=60"))
        await say(api.ctx, job_id, "one")
        for follower in followers:
            await follower.hears("one")
        await asyncio.to_thread(mortal.kill)
        await asyncio.sleep(0.5)  # they notice
        await asyncio.to_thread(mortal.restart)
        await say(api.ctx, job_id, "two")
        for follower in followers:
            await follower.hears("two")
        await say(api.ctx, job_id, "three")
        for follower in followers:
            await follower.hears("three")
            assert follower.heard[-3:] == ["one", "two", "three"]
        await commands.cancel(api.ctx, job_id, "acme")
        answer = await waiting
        assert (await answer.json())["status"] == "cancelled"
        await asyncio.gather(*(follower.task for follower in followers))


@pytest.mark.timeout(1200)  # 10 s of CPU, whatever else the machine does
async def test_a_thousand_followers_cost_one_read(mortal: Valkey, tmp_path: Path) -> None:
    many = aiohttp.TCPConnector(limit=0)
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(connector=many) as session:
        job_id = await submitted(api.ctx)
        url = f"{api.url}/v1/fine_tuning/jobs/{job_id}/events"
        followers: list[Follower] = []
        while len(followers) < 1000:  # a few at a time: they share the connections to Redis while they begin
            key = await another_key(api)
            group = [Follower(session, url, key) for _ in range(20)]
            for follower in group:
                await follower.hears(f"Accepted fine-tuning job: {job_id}")
            followers += group
        begun = time.monotonic()
        before = await asyncio.to_thread(_reads, mortal)
        for number in range(10):
            await say(api.ctx, job_id, f"line {number}")
            for follower in followers:
                await follower.hears(f"line {number}")
        after = await asyncio.to_thread(_reads, mortal)
        idle_rounds = (time.monotonic() - begun) / BLOCK_SECONDS
        assert after["xread"] - before["xread"] <= 10 + idle_rounds + 2
        for command in ("xrange", "hgetall"):
            assert after[command] - before[command] <= 20, "followers read for themselves"
        for follower in followers:
            assert follower.heard[1:] == [f"line {number}" for number in range(10)]
        await commands.cancel(api.ctx, job_id, "acme")
        await asyncio.gather(*(follower.task for follower in followers))


async def test_a_key_has_a_hundred_streams_and_they_end_with_it(mortal: Valkey, tmp_path: Path) -> None:
    many = aiohttp.TCPConnector(limit=0)
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(connector=many) as session:
        job_id = await submitted(api.ctx)
        url, (one, other) = f"{api.url}/v1/fine_tuning/jobs/{job_id}/events", [await another_key(api) for _ in range(2)]
        followers = [Follower(session, url, one) for _ in range(100)]
        for follower in followers:
            await follower.hears(f"Accepted fine-tuning job: {job_id}")
        headers = {"accept": "text/event-stream", "authorization": f"Bearer {one}"}
        async with session.get(url, headers=headers) as refused:
            assert (refused.status, (await refused.json())["error"]["code"]) == (429, "too_many_streams")
        spared = Follower(session, url, other)
        await spared.hears(f"Accepted fine-tuning job: {job_id}")
        await api_keys.revoke(api.ctx.store, one)
        async with asyncio.timeout(4 * KEYS_SECONDS):
            await asyncio.gather(*(follower.task for follower in followers))
        await say(api.ctx, job_id, "later")
        await spared.hears("later")
        assert not any("later" in follower.heard for follower in followers)
        async with session.get(url, headers=headers) as refused:
            assert refused.status == 401
        await commands.cancel(api.ctx, job_id, "acme")
        await spared.task


async def test_jobs_that_are_followed_later_are_part_of_the_read(mortal: Valkey, tmp_path: Path) -> None:
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        ids = [await submitted(api.ctx) for _ in range(3)]
        followers = []
        for job_id in ids:
            followers.append(Follower(session, f"{api.url}/v1/fine_tuning/jobs/{job_id}/events"))
            await followers[-1].hears(f"Accepted fine-tuning job: {job_id}")
            for follower, followed_id in zip(followers, ids, strict=False):
                await say(api.ctx, followed_id, f"after {job_id}")
                await follower.hears(f"after {job_id}")
        for job_id in ids:
            await commands.cancel(api.ctx, job_id, "acme")
        await asyncio.gather(*(follower.task for follower in followers))


async def test_a_follower_that_resumes_gets_what_it_missed_from_redis(mortal: Valkey, tmp_path: Path) -> None:
    """The process restarts meanwhile: nothing of the first one is needed."""
    async with running(mortal, tmp_path) as api:
        job_id = await submitted(api.ctx)
        await say(api.ctx, job_id, "one")
        position = (await api.ctx.store.job_log.page(job_id, after=None, limit=1))[0][0].position
        await say(api.ctx, job_id, "two")
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        ahead = Follower(session, f"{api.url}/v1/fine_tuning/jobs/{job_id}/events")
        await ahead.hears("two")
        await say(api.ctx, job_id, "three")
        await ahead.hears("three")
        behind = Follower(session, f"{api.url}/v1/fine_tuning/jobs/{job_id}/events?after=ftevent-{position}")
        await behind.hears("three")
        await say(api.ctx, job_id, "four")
        await behind.hears("four")
        assert behind.heard == ["two", "three", "four"]
        await commands.cancel(api.ctx, job_id, "acme")
        await asyncio.gather(ahead.task, behind.task)


async def test_a_wait_ends_with_a_job_whose_end_adds_no_log_entry(mortal: Valkey, tmp_path: Path) -> None:
    """The upstream's own last events come later."""
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        job_id = await submitted(api.ctx)
        waiting = asyncio.create_task(session.get(f"{api.url}/v1/fine_tuning/jobs/{job_id}?wait=60"))
        await asyncio.sleep(0.5)
        record = await api.ctx.store.jobs.read(job_id)
        ended = record.job.settled("succeeded", now=record.now)
        change = record.change(ended).due(record.member, None)
        await api.ctx.store.commit(api.ctx.store.jobs.release(change, ended))
        begun = time.monotonic()
        answer = await waiting
        assert (await answer.json())["status"] == "succeeded"
        assert time.monotonic() - begun < 50


async def test_a_process_that_stops_lets_its_followers_go_at_once(mortal: Valkey, tmp_path: Path) -> None:
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        job_id = await submitted(api.ctx)
        follower = Follower(session, f"{api.url}/v1/fine_tuning/jobs/{job_id}/events")
        waiting = asyncio.create_task(session.get(f"{api.url}/v1/fine_tuning/jobs/{job_id}?wait=60"))
        await follower.hears(f"Accepted fine-tuning job: {job_id}")
        begun = time.monotonic()
        await api.runner.cleanup()
        assert time.monotonic() - begun < 50, "it waited for its followers"
        await follower.task
        assert (await (await waiting).json())["status"] == "validating_files"


def _reads(valkey: Valkey) -> Counter[str]:
    """How often each command was called since the server's start."""
    with connect(valkey.url) as client:
        stats: Any = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()})
