"""Prism, made by others, judges by OpenAI's own description what we send, and what we and the simulator answer."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import SecretStr

from tests.compat import node
from tests.compat.python_calls import GRADER, MODEL, QUESTION
from tests.contract.openai.trim import KEPT
from tests.e2e.surface.conftest import Visitor
from tests.fakes.datasets import dataset
from tests.fakes.stored import Sent
from tunehook.errors import UpstreamError
from tunehook.model.job import JobSpec
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream

PASSED, REFUSED = "The request passed the validation rules", "[VALIDATOR] ✖"

# ---- what we send


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prism") / "mock.log"


@pytest.fixture(scope="module")
def prism(installed: None, log: Path) -> Iterator[str]:
    with node.server("prism", "mock", "-h", "127.0.0.1", "-p", "PORT", "--errors", str(KEPT), output=log) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def upstream(prism: str) -> AsyncIterator[OpenAIUpstream]:
    found = OpenAIUpstream("openai", UpstreamSettings(base_url=prism, api_key=SecretStr("sk-any")))
    yield found
    await found.close()


async def progress(_: int) -> None: ...


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({"model": MODEL, "training_file": "file-ours", "seed": 1, **changes})


SPECS = {
    "least": spec(),
    "labels": spec(suffix="owls", metadata={"team": "search"}),
    "old place": spec(hyperparameters={"n_epochs": 3, "batch_size": "auto"}),
    "supervised": spec(method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}),
    "dpo": spec(method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}),
    "reinforcement": spec(
        method={
            "type": "reinforcement",
            "reinforcement": {"grader": GRADER, "hyperparameters": {"reasoning_effort": "medium"}},
        }
    ),
    "integration": spec(integrations=[{"type": "wandb", "wandb": {"project": "owls"}}]),
}


def sent(upstream: OpenAIUpstream, file: Path) -> dict[str, Awaitable[Any]]:
    creates = {
        f"create: {name}": upstream.create(wanted, training="file-1", validation="file-2", tag="tunehook/ftjob-1")
        for name, wanted in SPECS.items()
    }
    return creates | {
        "upload": upstream.upload(Sent.of(file), "train.jsonl", progress),
        "find_file": upstream.find_file("train.jsonl", 1),
        "begin_parts": upstream.begin_parts("train.jsonl", 10),
        "add_part": upstream.add_part("upload_1", b"abc"),
        "end_parts": upstream.end_parts("upload_1", ["part_1", "part_2"]),
        "delete_file": upstream.delete_file("file-1"),
        "result": upstream.result("file-1"),
        "page": upstream.page("ftjob-0"),
        "retrieve": upstream.retrieve("ftjob-1"),
        "cancel": upstream.cancel("ftjob-1"),
        "pause": upstream.pause("ftjob-1"),
        "resume": upstream.resume("ftjob-1"),
        "events": upstream.events("ftjob-1", None),
        "checkpoints": upstream.checkpoints("ftjob-1", after=None, limit=10),
        "models": upstream.models(),
        "validate": upstream.grade("validate", {"grader": GRADER}),
        "run": upstream.grade("run", {"grader": GRADER, "model_sample": "Paris", "item": {"answer": "Paris"}}),
        "chat": asked(upstream),
        "find": asyncio.wait_for(upstream.find(SPECS["least"], training="file-1", tag="x/y", since=0), 5),
    }


async def asked(upstream: OpenAIUpstream) -> None:
    async with upstream.chat({"model": MODEL, "messages": QUESTION, "temperature": 0}) as passed:
        assert passed.status == 200


async def test_everything_that_we_send_is_what_openai_describes(
    upstream: OpenAIUpstream, log: Path, tmp_path: Path
) -> None:
    file = tmp_path / "train.jsonl"
    await asyncio.to_thread(file.write_bytes, dataset())
    for name, call in sent(upstream, file).items():
        before = await asyncio.to_thread(log.read_text)
        with suppress(UpstreamError, TimeoutError):  # Prism's answers are made up; what it says of the request counts
            await call
        said = (await asyncio.to_thread(log.read_text)).removeprefix(before)
        assert PASSED in said, f"{name}: Prism saw no request that it understands:\n{said}"
        assert REFUSED not in said, f"{name}:\n{said}"


async def test_a_wrong_request_would_be_found(upstream: OpenAIUpstream, log: Path) -> None:
    before = await asyncio.to_thread(log.read_text)
    with pytest.raises(UpstreamError):
        await upstream.create(spec(suffix="s" * 65), training="file-1", validation=None, tag="x/y")
    said = (await asyncio.to_thread(log.read_text)).removeprefix(before)
    assert REFUSED in said
    assert "suffix must NOT have more than 64" in said


# ---- what is answered

#: Other than OpenAI describes, because OpenAI itself does it (recorded by users); each is found, and nothing else.
PASSED_ON = {
    r"/files.*(expires_at must be integer|status_details must be string)": "null where there is none",
}
SIMULATED = {
    r"/files.*(expires_at must be integer|status_details must be string)": "null where there is none",
    r"/fine_tuning/jobs.*error( |\.)": "an object full of nulls on jobs that are well",
}


async def answers(client: openai.AsyncOpenAI) -> None:
    """Every kind of object once."""
    file = await client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    await client.files.retrieve(file.id)
    await client.files.list(limit=1)
    upload = await client.uploads.create(bytes=10, filename="a", mime_type="text/jsonl", purpose="fine-tune")
    await client.uploads.cancel(upload.id)
    job = await client.fine_tuning.jobs.create(training_file=file.id, model=MODEL, metadata={"simulate": "stall"})
    await client.fine_tuning.jobs.retrieve(job.id)
    await client.fine_tuning.jobs.list(limit=1)
    await client.fine_tuning.jobs.list_events(job.id)
    await client.fine_tuning.jobs.checkpoints.list(job.id)
    await client.fine_tuning.alpha.graders.validate(grader=GRADER)
    await client.fine_tuning.jobs.cancel(job.id)
    await client.models.retrieve(MODEL)
    await client.models.list()
    await client.files.delete(file.id)


async def violations(base_url: str, key: str, log: Path) -> list[str]:
    """What Prism, between a client and a server, finds wrong with the server's answers."""
    found: list[str] = []

    async def noted(response: httpx2.Response) -> None:
        assert response.status_code < 400, await response.aread()
        path = response.request.url.path
        for fault in response.headers.get_list("sl-violations"):
            found.extend(f"{path}: {message}" for message in re.findall(r'"message":"((?:[^"\\]|\\.)*)"', fault))

    options = ("proxy", "-h", "127.0.0.1", "-p", "PORT", str(KEPT), base_url)
    with node.server("prism", *options, output=log) as port:
        http = httpx2.AsyncClient(timeout=60.0, event_hooks={"response": [noted]})
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}", api_key=key, max_retries=0, http_client=http
        ) as client:
            await answers(client)
    return found


def check(found: list[str], meant: dict[str, str]) -> None:
    assert [line for line in found if not any(re.search(pattern, line) for pattern in meant)] == []
    assert [pattern for pattern in meant if not any(re.search(pattern, line) for line in found)] == [], "not found"


async def test_what_we_answer(visitor: Visitor, tmp_path: Path) -> None:
    check(await violations(visitor.place.town.url, visitor.caller.key, tmp_path / "proxy.log"), PASSED_ON)


async def test_what_the_simulator_answers(visitor: Visitor, tmp_path: Path) -> None:
    root = visitor.place.town.simulators["openai"]
    check(await violations(f"{root}/v1", "sk-any", tmp_path / "proxy.log"), SIMULATED)
