"""One call, one job, though the answer is lost on the way back: SDK retries, Idempotency-Key, and both at once."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from tests.fakes.datasets import dataset
from tests.fakes.deployment import Caller, Deployment, deployment
from tests.fakes.serving import serving
from tunehook.store.engine import keys
from tunehook.store.store import Store

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    simulators = {"openai": ("--speed", "1", "--slots", "0")}
    with deployment(
        tmp_path_factory.mktemp("client-side"), simulators=simulators, TUNEHOOK_POLL_SECONDS="60"
    ) as running:
        yield running


@dataclass
class Road:
    """What lies between client and API, and loses the answers of the next calls after they took effect."""

    url: str = ""
    losing: int = 0
    passed: int = 0
    last_retry_count: str = ""


@asynccontextmanager
async def lossy_road(api: str) -> AsyncIterator[Road]:
    road = Road()
    root = api.removesuffix("/v1")
    async with aiohttp.ClientSession() as session:

        async def _pass(request: web.Request) -> web.StreamResponse:
            headers = {name: text for name, text in request.headers.items() if name.lower() != "host"}
            road.last_retry_count = request.headers.get("x-stainless-retry-count", "")
            async with session.request(
                request.method, f"{root}{request.path_qs}", data=await request.read(), headers=headers
            ) as answer:
                content = await answer.read()
            if request.path.endswith("/jobs") and request.method == "POST":
                road.passed += 1
                if road.losing:
                    road.losing -= 1
                    assert request.transport is not None
                    request.transport.abort()
                    return web.Response()
            return web.Response(status=answer.status, body=content, content_type="application/json")

        app = web.Application()
        app.router.add_route("*", "/v1/{rest:.*}", _pass)
        async with serving(app) as listening:
            road.url = f"{listening}/v1"
            yield road


@dataclass
class Client:
    sdk: AsyncOpenAI
    road: Road
    caller: Caller
    file_id: str

    async def ask(
        self, *, key: str | None = None, repeats: bool = False, sdk: AsyncOpenAI | None = None, **changes: str
    ) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        if repeats:
            headers["x-stainless-retry-count"] = "1"
        body = {"training_file": self.file_id, "model": MODEL, **changes}
        job = await (sdk or self.sdk).fine_tuning.jobs.create(**body, extra_headers=headers)  # type: ignore[arg-type]
        return job.id

    async def jobs(self) -> list[str]:
        return [job.id async for job in self.sdk.fine_tuning.jobs.list()]


@pytest.fixture
async def client(place: Deployment, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    caller = await place.key(f"project of {request.node.name}"[:60])
    async with lossy_road(place.url) as road, AsyncOpenAI(base_url=road.url, api_key=caller.key) as sdk:
        file = await sdk.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        yield Client(sdk, road, caller, file.id)


async def test_an_sdk_that_repeats_its_call_gets_the_job_of_the_first(client: Client) -> None:
    client.road.losing = 2
    job_id = await client.ask()
    assert (client.road.passed, client.road.last_retry_count) == (3, "2")
    assert await client.jobs() == [job_id]


async def test_two_calls_that_are_meant_make_two_jobs(client: Client) -> None:
    first, second = await client.ask(), await client.ask()
    assert sorted(await client.jobs()) == sorted([first, second])
    client.road.losing = 1
    third = await client.ask()
    assert len({first, second, third}) == 3
    assert len(await client.jobs()) == 3


async def test_a_repeat_with_another_body_or_by_another_key_is_a_call_of_its_own(
    client: Client, place: Deployment
) -> None:
    first = await client.ask(repeats=True)
    assert await client.ask(repeats=True) == first
    assert await client.ask(repeats=True, suffix="another") != first
    other = await place.key(client.caller.project)
    assert await client.ask(repeats=True, sdk=client.sdk.with_options(api_key=other.key)) != first


async def test_under_one_idempotency_key_there_is_one_job_whoever_repeats(client: Client) -> None:
    client.road.losing = 1
    with pytest.raises(openai.APIConnectionError):
        await client.ask(key="k", sdk=client.sdk.with_options(max_retries=0))
    job_id = await client.ask(key="k")
    assert await client.ask(key="k") == job_id
    assert await client.jobs() == [job_id]


async def test_calls_at_the_same_moment_under_one_key_get_the_same_job(client: Client) -> None:
    """Nothing is in flight that could be answered 409: the job and the key are one commit, and the second finds it."""
    found = await asyncio.gather(*(client.ask(key="at once") for _ in range(20)))
    assert len(set(found)) == 1
    assert await client.jobs() == [found[0]]


async def test_a_key_with_another_body_is_422_and_belongs_to_its_project(client: Client, place: Deployment) -> None:
    job_id = await client.ask(key="k")
    with pytest.raises(openai.UnprocessableEntityError, match="Use a new key"):
        await client.ask(key="k", suffix="another")
    assert await client.jobs() == [job_id]
    stranger = await place.key("another project")
    async with AsyncOpenAI(base_url=place.url, api_key=stranger.key) as sdk:
        file = await sdk.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        assert await client.ask(key="k", sdk=sdk, training_file=file.id) != job_id


async def test_a_key_is_kept_for_a_day_and_a_repeat_for_a_quarter_of_an_hour(client: Client, place: Deployment) -> None:
    await client.ask(key="k")
    store = Store.connect(place.valkey.url)
    try:
        day = await store.redis.ttl(keys.idempotency(client.caller.project, "k"))
        [repeat] = await store.redis.keys(keys.repeat(client.caller.key.split("_")[1], "*"))
        quarter = await store.redis.ttl(repeat)
    finally:
        await store.close()
    assert 86_000 < day <= 86_400
    assert 800 < quarter <= 900


def test_the_page_of_guarantees_names_tests_that_exist() -> None:
    """docs/guarantees.md names a test for each promise."""
    page = Path(__file__).parents[3] / "docs" / "guarantees.md"
    named = set(re.findall(r"`(tests/[^`]+)`", page.read_text("utf-8")))
    assert named
    for name in named:
        path, _, test = name.partition("::")
        text = (page.parents[1] / path).read_text("utf-8")
        assert not test or f"def {test}(" in text, name
