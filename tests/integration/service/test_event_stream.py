"""Followers when Redis goes and comes back, and when the process stops; the API in the test's own loop."""

import asyncio
import json
import time
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
from tests.fakes.context import opened_context
from tests.fakes.valkey import Valkey, valkey_server
from tunehook import api_keys
from tunehook.context import Context
from tunehook.jobs import commands, submission
from tunehook.model.file import File
from tunehook.model.job import FileRef, Job, JobSpec, Message
from tunehook.model.record import new_id
from tunehook.store.engine import keys


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
        runner = web.AppRunner(build_app(ctx), access_log=None, shutdown_timeout=10)
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
    await submission.accept(ctx, job, remember=[], recall=[])
    return job.id


async def say(ctx: Context, job_id: str, text: str) -> None:
    await ctx.store.job_log.append(job_id, [Message(created_at=1, message=text)])


class Follower:
    """Reads a stream in the background; `heard` are the messages so far."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Condition()
        self.task = asyncio.create_task(self._read(session, url))

    async def _read(self, session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url, headers={"accept": "text/event-stream"}) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                    async with self._news:
                        self.heard.append(event["message"])
                        self._news.notify_all()

    async def hears(self, text: str) -> float:
        """Waits for a message; returns for how many seconds."""
        begun = time.monotonic()
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: text in self.heard)
        return time.monotonic() - begun


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
            assert await follower.hears("three") < 5, "the subscription did not come back: a heartbeat read it"
            assert follower.heard[-3:] == ["one", "two", "three"]
        await commands.cancel(api.ctx, job_id, "acme")
        answer = await waiting
        assert (await answer.json())["status"] == "cancelled"
        await asyncio.gather(*(follower.task for follower in followers))


async def test_a_process_has_one_subscription_whoever_follows(mortal: Valkey, tmp_path: Path) -> None:
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        job_id = await submitted(api.ctx)
        followers = [Follower(session, f"{api.url}/v1/fine_tuning/jobs/{job_id}/events") for _ in range(20)]
        for follower in followers:
            await follower.hears(f"Accepted fine-tuning job: {job_id}")
        assert await asyncio.to_thread(_subscribers, mortal) == 1
        await commands.cancel(api.ctx, job_id, "acme")
        await asyncio.gather(*(follower.task for follower in followers))


async def test_a_process_that_stops_lets_its_followers_go_at_once(mortal: Valkey, tmp_path: Path) -> None:
    async with running(mortal, tmp_path) as api, aiohttp.ClientSession(headers=api.headers) as session:
        job_id = await submitted(api.ctx)
        follower = Follower(session, f"{api.url}/v1/fine_tuning/jobs/{job_id}/events")
        waiting = asyncio.create_task(session.get(f"{api.url}/v1/fine_tuning/jobs/{job_id}?wait=60"))
        await follower.hears(f"Accepted fine-tuning job: {job_id}")
        begun = time.monotonic()
        await api.runner.cleanup()
        assert time.monotonic() - begun < 5
        await follower.task
        assert (await (await waiting).json())["status"] == "validating_files"


def _subscribers(valkey: Valkey) -> int:
    with connect(valkey.url) as client:
        counts: Any = client.pubsub_numsub(keys.NEWS)
        return int(counts[0][1])
