"""The API in the test's own loop on a real Valkey, spoken to by the official SDK; steps are run when a test says so."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp.test_utils import TestServer
from cryptography.fernet import Fernet
from openai import AsyncOpenAI

from service.app import build_app
from tests.contract.checker import CheckedTransport, Contract
from tests.fakes.context import opened_context
from tests.fakes.misbehaving_receiver import Misbehaving, misbehaving
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.context import Context
from tunehook.model.job import FileRef, Job, JobError, JobSpec, Stage, UpstreamJob
from tunehook.model.record import new_id
from tunehook.store.engine.commit import Change
from tunehook.webhooks import dispatch, publishing

VAULT_KEY = Fernet.generate_key().decode()
DUE = "th:due:deliveries"


@dataclass
class Office:
    """A project with its key, and what a test does there."""

    ctx: Context
    client: AsyncOpenAI
    http: httpx2.AsyncClient
    project: str
    key: str
    callback_secret: str

    async def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        """What the SDK has no method for; the answer is held against the contract all the same."""
        answer = await self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str, *, status: int = 200) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def subscribe(self, url: str, *kinds: str) -> Any:
        """Types beyond OpenAI's are not in the SDK's literals, so the body is given as it is."""
        return await self.post("/v1/webhook_endpoints", {"name": "test", "url": url, "event_types": list(kinds)})

    async def happen(self, kind: str = "fine_tuning.job.succeeded", **members: Any) -> Job:
        """Something happens to a job, and its subscribers are told in the same commit."""
        job = settled_job(self.project, self.key.split("_")[1], kind, **members)
        now = await self.ctx.store.now_ms() // 1000
        change = Change(record=f"th:job:{job.id}", revision=0, document=job.model_dump_json(exclude_none=True))
        await publishing.publish(self.ctx.webhooks, change, job, kind, now=now)
        await self.ctx.store.commit(change)
        return job

    async def deliver(self, seconds: float = 15.0) -> None:
        await dispatch.dispatch(self.ctx.webhooks, attempt_seconds=seconds)

    async def deliveries(self, endpoint_id: str, query: str = "") -> list[Any]:
        return list((await self.get(f"/v1/webhook_endpoints/{endpoint_id}/deliveries{query}"))["data"])

    async def due_in(self, delivery_id: str) -> float:
        """Returns the seconds until the next attempt, as Redis has it."""
        at = await self.ctx.store.redis.zscore(DUE, f"delivery:{delivery_id}")
        return float(at - await self.ctx.store.now_ms()) / 1000

    async def make_due(self, endpoint_id: str) -> None:
        """Ends the pauses of an endpoint's deliveries, so that no test sleeps for them."""
        redis = self.ctx.store.redis
        for delivery_id in await redis.zrange(f"th:endpoint-deliveries:{endpoint_id}", 0, -1):
            await redis.zadd(DUE, {f"delivery:{delivery_id}": 0}, xx=True)
        await redis.delete(f"th:rest:{endpoint_id}")


def settled_job(project: str, key_id: str, kind: str, **members: Any) -> Job:
    """A job that has ended as the type of event says."""
    status = kind.rpartition(".")[2]
    seen = UpstreamJob(id="ftjob-theirs", status=status)
    if status == "succeeded":
        seen = seen.model_copy(update={"fine_tuned_model": "ft:gpt-4.1-mini-2025-04-14:acme:x:1", "trained_tokens": 7})
    job = Job(
        id=new_id("ftjob-"),
        project=project,
        key_id=key_id,
        created_at=1_795_340_602,
        spec=JobSpec(model="gpt-4.1-mini-2025-04-14", training_file="file-abc", seed=42),
        upstream="openai",
        training=FileRef(id="file-abc", sha256="", bytes=1),
        stage=Stage.SETTLED,
        status=status,
        settled_at=1_795_340_802,
        upstream_job_id=seen.id,
        seen=seen,
        error=JobError(code="invalid_training_file", message="No.") if status == "failed" else None,
    )
    return job.model_copy(update=members)


@pytest.fixture
async def ctx(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Context]:
    webhooks = {"jitter": lambda: 0.5, "operators": "one"}
    async with opened_context(valkey.url, tmp_path, secret_key=VAULT_KEY, allow="127.0.0.1", webhooks=webhooks) as ctx:
        yield ctx


@pytest.fixture
async def offices(ctx: Context, contract: Contract) -> AsyncIterator[list[Office]]:
    """Two projects."""
    server = TestServer(build_app(ctx))
    await server.start_server()
    found = []
    for project in ("one", "two"):
        key, secret = await api_keys.create(ctx.store, ctx.webhooks.encryption, project=project, name="test")
        http = httpx2.AsyncClient(
            base_url=str(server.make_url("/")).rstrip("/"),
            headers={"authorization": f"Bearer {key}"},
            transport=CheckedTransport(contract),
            timeout=30,
        )
        client = AsyncOpenAI(
            api_key=key,
            base_url=str(server.make_url("/v1")),
            http_client=httpx2.AsyncClient(transport=CheckedTransport(contract)),
            max_retries=0,
        )
        found.append(Office(ctx, client, http, project, key, secret))
    yield found
    for office in found:
        await office.client.close()
        await office.http.aclose()
    await server.close()


@pytest.fixture
def office(offices: list[Office]) -> Office:
    return offices[0]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def bad() -> AsyncIterator[Misbehaving]:
    async with misbehaving() as running:
        yield running
