"""The same story with no process but this one: the steps are called by hand, time stands still until it is advanced,
and a blocking call of ours on the loop is an error (loop_guard.py)."""

import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families

from service.app import build_app
from simulator.clock import Clock
from tests.contract.checker import CheckedTransport, Contract
from tests.e2e.story.conftest import MODEL, stage
from tests.fakes.datasets import dataset
from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.context import Context, open_context
from tunehook.files import ingest
from tunehook.jobs import copy_step, cost, lifecycle, model_ready, poller
from tunehook.jobs.copy_transfer import PART_BYTES
from tunehook.model.member import Queue
from tunehook.settings import Settings
from tunehook.webhooks import dispatch

SECRET_KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


@dataclass
class Bench:
    ctx: Context
    client: AsyncOpenAI
    simulator: Simulator
    receiver: Receiver
    secret: str
    root: str

    async def work(self) -> list[str]:
        """Does what is due, as clock and workers would, until nothing is; returns the steps in their order."""
        done: list[str] = []
        queues: tuple[Queue, ...] = ("steps", "polls", "bulk")
        while members := [member for queue in queues for member in (await self.ctx.store.claim(queue, 10)).members]:
            for member in members:
                kind, _, rest = member.partition(":")
                match kind:
                    case "job":
                        await lifecycle.advance(self.ctx, rest)
                    case "look":
                        await poller.poll(self.ctx, rest)
                    case "copy":
                        name, _, sha256 = rest.rpartition(":")
                        await copy_step.copy_to_upstream(self.ctx, name, sha256)
                    case "check":
                        await ingest.check_stored(self.ctx.files, rest)
                    case "estimate":
                        await cost.estimate_accepted(self.ctx, rest)
                    case "ready":
                        await model_ready.ask_until_ready(self.ctx, rest)
                done.append(kind)
        await dispatch.dispatch(self.ctx.webhooks)
        return done

    async def look_now(self) -> None:
        await self.ctx.store.plan("look:openai", 0)
        await self.work()


@pytest.fixture
async def bench(valkey: Valkey, tmp_path: Path, contract: Contract) -> AsyncIterator[Bench]:
    async with running_simulator(clock=Clock(lambda: 1.8e9)) as simulator, running_receiver() as receiver:
        found = {
            "redis_url": valkey.url, "data_dir": tmp_path, "secret_key": SECRET_KEY, "webhook_allow": "127.0.0.1",
            "openai_api_key": "sk-simulated", "openai_base_url": simulator.base_url,
        }  # fmt: skip
        with nothing_blocks():
            async with open_context(Settings.model_validate(found)) as ctx, TestServer(build_app(ctx)) as server:
                key, secret = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="p", name="n")
                http = httpx2.AsyncClient(transport=CheckedTransport(contract), timeout=30.0)
                url = str(server.make_url("/v1"))
                async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http) as client:
                    yield Bench(ctx, client, simulator, receiver, secret, url.removesuffix("/v1"))


async def test_the_main_job_step_by_step(bench: Bench, contract: Contract) -> None:
    jobs = bench.client.fine_tuning.jobs
    file = await bench.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    job = await jobs.create(model=MODEL, training_file=file.id, extra_body={"callback_url": bench.receiver.url})
    assert stage(job) == "accepted"
    assert await bench.simulator.requests() == []  # submitting asks nobody

    steps = await bench.work()
    assert steps[0] == "job"
    assert "copy" in steps
    created = await jobs.retrieve(job.id)
    assert (stage(created), created.status) == ("tracked", "validating_files")

    for status in ("queued", "running"):
        while created.status != status:
            await bench.simulator.advance(10)
            await bench.look_now()
            created = await jobs.retrieve(job.id)
            assert created.status in ("validating_files", "queued", "running")
    assert bench.receiver.hooks == []

    await bench.simulator.advance(3600)
    await bench.look_now()
    ended = await jobs.retrieve(job.id)
    assert (stage(ended), ended.status) == ("settled", "succeeded")
    [hook] = bench.receiver.hooks
    contract.check_webhook(hook.body, hook.headers)
    event = bench.client.webhooks.unwrap(hook.body, dict(hook.headers), secret=bench.secret)
    assert event.type == "fine_tuning.job.succeeded"
    await bench.work()
    assert len(bench.receiver.hooks) == 1
    assert len(await bench.simulator.jobs()) == 1


async def figures(bench: Bench) -> dict[str, float]:
    """Returns what /metrics shows: name and values of the labels, by the labels' names → value."""
    async with httpx2.AsyncClient() as http:
        text = (await http.get(bench.root + "/metrics")).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


async def test_the_main_job_in_the_metrics(bench: Bench) -> None:
    jobs = bench.client.fine_tuning.jobs
    content = dataset()
    file = await bench.client.files.create(file=("train.jsonl", content), purpose="fine-tune")
    job = await jobs.create(model=MODEL, training_file=file.id, extra_body={"callback_url": bench.receiver.url})
    await bench.work()
    created = await figures(bench)
    assert created["tunehook_uploaded_bytes_total openai"] == len(content)
    assert created["tunehook_job_created_seconds_count openai"] == 1
    assert created["tunehook_estimated_usd_total p openai"] > 0
    assert created["tunehook_spent_usd_total p openai"] == 0, "there, so that `increase` sees its first value"

    await bench.simulator.advance(3600)
    await bench.look_now()
    await bench.look_now()  # nothing is counted twice
    seen = (await bench.ctx.store.jobs.read(job.id)).job
    assert seen.price
    assert seen.seen
    told = await figures(bench)
    assert told["tunehook_trained_tokens_total p openai"] == seen.seen.trained_tokens
    price = (seen.seen.trained_tokens or 0) * (seen.price.usd_per_million_tokens or 0)
    assert told["tunehook_spent_usd_total p openai"] == math.ceil(price) / 1_000_000
    assert told["tunehook_estimated_usd_total p openai"] == created["tunehook_estimated_usd_total p openai"]
    assert told["tunehook_end_noticed_seconds_count openai"] == 1
    assert told["tunehook_end_received_seconds_count"] == 1
    assert 0 <= told["tunehook_end_received_seconds_sum"] < 60
    assert told["tunehook_delivery_duration_seconds_count delivered"] == 1
    assert told["tunehook_upstream_answers_total 200 openai"] >= len(await bench.simulator.jobs())
    assert told["tunehook_redis_memory_used_bytes"] > 0
    assert 0 < told["tunehook_data_disk_free_bytes"] <= told["tunehook_data_disk_size_bytes"]
    assert told["tunehook_request_duration_seconds_count POST /v1/fine_tuning/jobs 2xx"] == 1


async def test_the_end_of_an_import_costs_nothing_here(bench: Bench) -> None:
    async with AsyncOpenAI(base_url=bench.simulator.base_url, api_key="sk-simulated", max_retries=0) as upstream:
        file = await upstream.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        there = await upstream.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
    await bench.simulator.advance(3600)
    body = {"upstream": "openai", "upstream_job_id": there.id}
    await bench.client.post("/fine_tuning/jobs/import", cast_to=httpx2.Response, body=body)
    await bench.work()
    told = await figures(bench)
    assert not any(told[f"tunehook_{what}_total p openai"] for what in ("trained_tokens", "spent_usd", "estimated_usd"))


async def test_a_look_at_many_jobs_is_one_request_a_hundred(bench: Bench) -> None:
    file = await bench.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    for number in range(3):
        await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, seed=number)
    await bench.work()
    before = len(await bench.simulator.requests())
    await bench.look_now()
    asked = [str(seen["path"]) for seen in (await bench.simulator.requests())[before:]]
    assert [path for path in asked if "/events" not in path] == ["/v1/fine_tuning/jobs?limit=100"]


async def test_above_100_mb_a_dataset_goes_in_parts_and_nothing_is_sent_twice(bench: Bench, tmp_path: Path) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "x" * 900_000}, {"role": "assistant", "content": "y"}]})
    path = tmp_path / "large.jsonl"
    with path.open("w") as sink:
        for number in range(112):
            sink.write(line.replace("x", str(number % 10), 1) + "\n")
    size = path.stat().st_size
    assert size > copy_step.WHOLE_BYTES
    with path.open("rb") as source:
        file = await bench.client.files.create(file=("large.jsonl", source), purpose="fine-tune")
    assert file.bytes == size
    await bench.simulator.fault("http_500", path="/parts$", method="POST")
    job = await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
    for _ in range(5):
        await bench.work()
        if stage(await bench.client.fine_tuning.jobs.retrieve(job.id)) == "tracked":
            break
        sha256 = (await bench.ctx.store.jobs.read(job.id)).job.training.sha256
        await bench.ctx.store.plan(f"copy:openai:{sha256}", 0)  # the pause after the lost answer is over
    requests = [(seen["path"], seen["status"]) for seen in await bench.simulator.requests() if seen["method"] == "POST"]
    parts = [status for path, status in requests if str(path).endswith("/parts")]
    assert parts.count(200) == -(-size // PART_BYTES)
    assert parts.count(500) == 1
    assert sum(str(path) == "/v1/uploads" for path, _ in requests) == 1
    assert not any(str(path) == "/v1/files" for path, _ in requests)
    [theirs] = await bench.simulator.jobs()
    assert str(theirs["training_file"]).startswith("file-")
