"""The API in the test's own loop, where a blocking call is an error; every answer is held against the contract."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import build_app
from service.connections import listening
from tests.contract.checker import Contract
from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.context import Context, open_context
from tunehook.settings import Settings

SECRET_KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error


@dataclass
class Api:
    """`call` speaks for one project; ids of things that exist are in `ids`, by the names in the paths."""

    root: str
    key: str
    session: aiohttp.ClientSession
    contract: Contract
    ctx: Context
    simulator: Simulator
    ids: dict[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, key: str | None = "", **options: Any
    ) -> Answer:
        """Raises AssertionError for an answer that the contract does not have. `key=None`: none is sent."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("authorization", f"Bearer {key or self.key}")
        async with self.session.request(method, self.root + path, headers=sent, **options) as response:
            body = await response.read()
            answer = Answer(response.status, {name.lower(): text for name, text in response.headers.items()}, body)
        if method != "HEAD":
            self.contract.check_response(method, path, answer.status, answer.headers, body)
        return answer

    async def post(self, path: str, body: object) -> Any:
        answer = await self.call("POST", path, json=body)
        assert answer.status == 200, answer.body
        return answer.json

    def path(self, template: str) -> str:
        return template.format(**self.ids)


def form(content: bytes = b'{"messages": []}\n' * 12, purpose: str = "fine-tune") -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("purpose", purpose)
    data.add_field("file", content, filename="train.jsonl")
    return data


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    with nothing_blocks():
        yield


@pytest.fixture
async def api(valkey: Valkey, tmp_path: Path, contract: Contract) -> AsyncIterator[Api]:
    async with running_simulator() as simulator:
        settings = Settings.model_validate(
            {
                "redis_url": valkey.url,
                "data_dir": tmp_path,
                "secret_key": SECRET_KEY,
                "openai_api_key": "sk-simulated",
                "openai_base_url": simulator.base_url,
                "webhook_allow": "127.0.0.1",
            }
        )
        async with (
            open_context(settings) as ctx,
            listening(build_app(ctx), "127.0.0.1", 0, most=1000) as [(host, port)],
            aiohttp.ClientSession() as session,
        ):
            key, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="tests", name="tests")
            yield Api(f"http://{host}:{port}", key, session, contract, ctx, simulator)


@pytest.fixture
async def furnished(api: Api) -> Api:
    """With one of each thing that paths speak of."""
    answer = await api.call("POST", "/v1/files", data=form(content=DATASET))
    assert answer.status == 200, answer.body
    file_id = answer.json["id"]
    job = await api.post("/v1/fine_tuning/jobs", {"model": "gpt-4.1-mini-2025-04-14", "training_file": file_id})
    upload = await api.post(
        "/v1/uploads", {"filename": "a.jsonl", "bytes": 10, "purpose": "fine-tune", "mime_type": "text/jsonl"}
    )
    endpoint = await api.post(
        "/v1/webhook_endpoints",
        {"url": "https://example.com/hook", "name": "tests", "event_types": ["fine_tuning.job.succeeded"]},
    )
    api.ids = {
        "file_id": file_id,
        "fine_tuning_job_id": job["id"],
        "upload_id": upload["id"],
        "webhook_endpoint_id": endpoint["id"],
        "delivery_id": "dlv_unknown",
        "model": "ft:unknown",
        "name": "openai",
        "key_id": "unknown",
        "project": "tests",
    }
    return api


DATASET = b"".join(
    json.dumps(
        {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
    ).encode()
    + b"\n"
    for n in range(12)
)
