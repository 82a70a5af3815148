"""One deployment for all stories, and for each test a project of its own, the official client, and a receiver.

Every answer that the client sees is held against the contract, and so is every webhook.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import httpx2
import pytest
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.checker import CheckedTransport, Contract
from tests.fakes.datasets import dataset
from tests.fakes.deployment import Caller, Deployment, deployment
from tests.fakes.patience import eventually
from tests.fakes.ports import free_port
from tests.fakes.receiver import Hook, Receiver, running_receiver
from tests.fakes.simulator import Simulator

MODEL = "gpt-4.1-mini-2025-04-14"
#: A small job takes half a second there.
FAST = ("--speed", "900", "--slots", "0", "--azure-deployed")
T = TypeVar("T")
STATED = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="package")
def away_port() -> int:
    return free_port()


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory, away_port: int) -> Iterator[Deployment]:
    """Its upstreams: `openai`; `azure`; `narrow` with three slots, where time stands still until it is advanced;
    `locked`, for tests that put one on hold; `away`, which nobody has started yet. Only the upstreams that a test
    uses are polled each second: a poll costs 50 ms of CPU, and all five would take a core's fifth."""
    simulators = {"openai": FAST, "narrow": ("--speed", "1", "--slots", "3")}
    away = {
        "TUNEHOOK_UPSTREAMS__AWAY__BASE_URL": f"http://127.0.0.1:{away_port}/v1",
        "TUNEHOOK_UPSTREAMS__AWAY__API_KEY": "sk-simulated",
    }
    with deployment(
        tmp_path_factory.mktemp("town"), simulators=simulators, all_names=True, TUNEHOOK_POLL_SECONDS="60", **away
    ) as running:
        yield running


@dataclass
class Story:
    """A project's view: its client, its receiver, and the upstreams from behind."""

    town: Deployment
    caller: Caller
    client: AsyncOpenAI
    contract: Contract
    receiver: Receiver
    simulators: dict[str, Simulator]
    polled: set[str] = field(default_factory=lambda: {"openai"})  #: upstreams that are polled each second

    @property
    def upstream(self) -> Simulator:
        return self.simulators["openai"]

    async def upload(self, content: bytes | None = None) -> str:
        sent = dataset() if content is None else content
        return (await self.client.files.create(file=("train.jsonl", sent), purpose="fine-tune")).id

    async def submit(
        self,
        *,
        simulate: str | None = None,
        upstream: str | None = None,
        callback: bool = True,
        **parameters: Any,
    ) -> FineTuningJob:
        """A job on a dataset of its own; `simulate` is what shall go wrong there (docs/simulator.md)."""
        extra: dict[str, Any] = {"callback_url": self.receiver.url} if callback else {}
        if upstream:
            self.polled.add(upstream)
            extra["tunehook"] = {"upstream": upstream}
        if simulate:
            parameters["metadata"] = {**parameters.get("metadata", {}), "simulate": simulate}
        if "training_file" not in parameters:
            parameters["training_file"] = await self.upload()
        parameters.setdefault("model", MODEL)
        return await self.client.fine_tuning.jobs.create(**parameters, extra_body=extra)

    async def until(self, job_id: str, reached: Callable[[FineTuningJob], bool]) -> FineTuningJob:
        """The job as soon as it is what is waited for; AssertionError, with the job, if that does not come."""
        try:
            return await eventually(lambda: self.client.fine_tuning.jobs.retrieve(job_id), reached)
        except TimeoutError as late:
            raise AssertionError(f"{late}; its events are {await self.log(job_id)}") from late

    async def wait_for(self, read: Callable[[], Awaitable[T]], reached: Callable[[T], bool]) -> T:
        """What `read` gives as soon as it is what is waited for. TimeoutError, with the last one, if that fails."""
        return await eventually(read, reached)

    async def keep_polling(self) -> None:
        while True:
            for name in sorted(self.polled):
                await asyncio.to_thread(self.town.poll, name)
            await asyncio.sleep(1.0)

    async def until_stage(self, job_id: str, *stages: str) -> FineTuningJob:
        return await self.until(job_id, lambda job: stage(job) in stages)

    async def until_end(self, job_id: str) -> FineTuningJob:
        return await self.until(job_id, lambda job: job.status in STATED)

    async def cancel(self, job_id: str) -> FineTuningJob:
        """Cancelled and ended. The answer to a cancel waits three seconds for the end, a slow machine takes longer."""
        await self.client.fine_tuning.jobs.cancel(job_id)
        return await self.until_end(job_id)

    async def hooks(self, count: int = 1) -> list[Hook]:
        """The webhooks so far, once there are `count`: each as the contract has it and verified by the SDK."""
        hooks = await self.receiver.wait(count)
        for hook in hooks:
            self.contract.check_webhook(hook.body, hook.headers)
            self.client.webhooks.unwrap(hook.body, dict(hook.headers), secret=self.caller.callback_secret)
        return hooks

    async def created(self, job_id: str, simulator: str = "openai") -> list[dict[str, Any]]:
        """Every job at an upstream that bears our job's mark, whether it shows it yet or not: what was paid for."""
        jobs: list[dict[str, Any]] = await self.simulators[simulator].jobs()
        return [job for job in jobs if str((job["metadata"] or {}).get("tunehook", "")).endswith(f"/{job_id}")]

    async def asked(self, method: str, path: str, simulator: str = "openai") -> int:
        """How often this was asked of the upstream so far; `path` without /v1 and query."""
        requests = await self.simulators[simulator].requests()
        paths = [str(seen["path"]).partition("?")[0] for seen in requests if seen["method"] == method]
        return sum(found.endswith(path) for found in paths)

    async def log(self, job_id: str) -> list[str]:
        """The messages of the job's events, oldest first."""
        lines = [line.message async for line in self.client.fine_tuning.jobs.list_events(job_id, limit=100)]
        return lines[::-1]


def stage(job: FineTuningJob) -> str:
    return str(ours(job)["stage"])


def ours(job: FineTuningJob) -> dict[str, Any]:
    """The member that is ours alone."""
    assert job.model_extra is not None
    member: dict[str, Any] = job.model_extra["tunehook"]
    return member


def why(job: FineTuningJob) -> str | None:
    """The code of why it waits."""
    waiting = ours(job)["waiting"]
    return waiting and str(waiting["code"])


@pytest.fixture
async def story(town: Deployment, contract: Contract) -> AsyncIterator[Story]:
    caller = await town.key(f"project-{secrets.token_hex(4)}")
    async with aiohttp.ClientSession() as session, running_receiver() as receiver:
        simulators = {name: Simulator(root, session) for name, root in town.simulators.items()}
        async with client_of(town, caller, contract) as client:
            story = Story(town, caller, client, contract, receiver, simulators)
            polling = asyncio.create_task(story.keep_polling())
            yield story
            polling.cancel()
        for simulator in simulators.values():
            await simulator.clear_faults()


def client_of(town: Deployment, caller: Caller, contract: Contract, **options: Any) -> AsyncOpenAI:
    http = httpx2.AsyncClient(transport=CheckedTransport(contract), timeout=60.0)
    return AsyncOpenAI(base_url=town.url, api_key=caller.key, http_client=http, **{"max_retries": 2, **options})
