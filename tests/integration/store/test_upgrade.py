"""An upgrade from version 0.1: its records, with live jobs in every stage, are worked to their ends.

`records-0.1.json` was left by the old programs themselves (`python -m tests.fakes.old_program`).
"""

import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import redis.asyncio
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI

from service.app import build_app
from tests.fakes.context import opened_context
from tests.fakes.deployment import SECRET_KEY
from tests.fakes.old_program import RECORDS, UPSTREAMS
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import Valkey
from tunehook.context import Context
from tunehook.files import ingest
from tunehook.jobs import copy_step, cost, lifecycle, model_ready, poller
from tunehook.model.member import QUEUES
from tunehook.store import doctor
from tunehook.store.finding import Finding
from tunehook.store.store import Store
from tunehook.webhooks import dispatch

DAY = 86400
#: More than a job takes: a round is an hour for everything that waits.
ROUNDS = 40


@dataclass
class Upgraded:
    """`left` is the recording, moved to now and to the upstreams and the receiver of this test."""

    ctx: Context
    simulators: dict[str, Simulator]
    receiver: Receiver
    left: dict[str, Any]

    async def work(self) -> None:
        """Does all that is due within the next hour, as scheduler and workers would."""
        for simulator in self.simulators.values():
            await simulator.advance(3600)
        await self._skip(3600)
        for queue in QUEUES:
            if queue != "deliver":
                for member in (await self.ctx.store.claim(queue, 100)).members:
                    await self._step(member)
        await dispatch.dispatch(self.ctx.webhooks)

    async def _step(self, member: str) -> None:
        kind, _, rest = member.partition(":")
        match kind:
            case "job":
                await lifecycle.advance(self.ctx, rest)
            case "look":
                await poller.poll(self.ctx, rest)
            case "copy":
                await copy_step.copy_to_upstream(self.ctx, *rest.split(":"))
            case "check":
                await ingest.check_stored(self.ctx.files, rest)
            case "estimate":
                await cost.estimate_accepted(self.ctx, rest)
            case "ready":
                await model_ready.ask_until_ready(self.ctx, rest)

    async def _skip(self, seconds: int) -> None:
        client = self.ctx.store.redis
        for pattern in ("th:due:*", "th:lane:*"):
            async for name in client.scan_iter(match=pattern):
                for member, at in await client.zrange(name, 0, -1, withscores=True):
                    await client.zadd(name, {member: at - seconds * 1000})
        for pattern in ("th:hold:*", "th:lane-rest:*", "th:rest:*"):
            async for name in client.scan_iter(match=pattern):
                await client.delete(name)

    def deliveries(self, *states: str) -> list[dict[str, Any]]:
        """The recorded ones."""
        found = [json.loads(key["value"]["doc"]) for name, key in self.keys.items() if name.startswith("th:delivery:")]
        return [delivery for delivery in found if delivery["state"] in states]

    @property
    def keys(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.left["keys"]
        return found


async def replayed(text: str, simulators: dict[str, Simulator]) -> str:
    """The recording with the names that files and jobs have at the new upstreams, made there once more."""
    left = json.loads(text)
    for upstream, there in left["upstreams"].items():
        async with AsyncOpenAI(base_url=simulators[upstream].base_url, api_key="k", max_retries=0) as client:
            for old, name in there["files"].items():
                content = left["data"][name].encode("latin-1")
                file = await client.files.create(file=("train.jsonl", content), purpose="fine-tune")
                text = text.replace(old, file.id)
                there["jobs"] = json.loads(json.dumps(there["jobs"]).replace(old, file.id))
            for job in there["jobs"]:
                wanted = {name: job[name] for name in ("model", "training_file", "seed", "metadata")}
                made = await client.fine_tuning.jobs.create(**wanted)
                text = text.replace(job["id"], made.id)
    return text


def moved(text: str, by: int) -> str:
    """Every time in it so many seconds later: the programs were stopped just now."""
    recorded = int(json.loads(text)["now"])

    def _later(found: re.Match[str]) -> str:
        number = int(found[0])
        unit = 1000 if len(found[0]) == 13 else 1
        near = recorded - DAY <= number // unit <= recorded + 100 * DAY
        return str(number + by * unit) if near else found[0]

    return re.sub(r"\b\d{10}(?:\d{3})?\b", _later, text)


async def load(url: str, data_dir: Path, left: dict[str, Any]) -> None:
    """Leases are left out: all are over 15 s after a stop."""
    for name, text in left["data"].items():
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    client = redis.asyncio.Redis.from_url(url, decode_responses=True)
    for name, key in left["keys"].items():
        value = key["value"]
        if name.startswith("th:lease:"):
            continue
        match key["type"]:
            case "string":
                await client.set(name, value)
            case "hash":
                await client.hset(name, mapping=value)
            case "set":
                await client.sadd(name, *value)
            case "zset":
                await client.zadd(name, dict(value))
            case "list":
                await client.rpush(name, *value)
            case "stream":
                for entry, members in value:
                    await client.xadd(name, members, id=entry)
        if "ttl" in key:
            await client.pexpire(name, key["ttl"])
    await client.aclose()


@pytest.fixture
async def upgraded(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Upgraded]:
    async with AsyncExitStack() as stack:
        simulators = {name: await stack.enter_async_context(running_simulator(slots=0)) for name in UPSTREAMS}
        receiver = await stack.enter_async_context(running_receiver())
        recorded = RECORDS.read_text("utf-8")
        there = json.loads(recorded)
        text = moved(recorded, int(time.time()) - there["now"])
        here = receiver.url.removesuffix("/hook")
        text = text.replace(there["receiver"], here).replace(there["dead"], here)
        left = json.loads(await replayed(text, simulators))
        await load(valkey.url, tmp_path / "data", left)
        urls = {name: simulator.base_url for name, simulator in simulators.items()}
        ctx = await stack.enter_async_context(
            opened_context(valkey.url, tmp_path / "data", upstreams=urls, secret_key=SECRET_KEY, allow="127.0.0.1")
        )
        from tunehook.store import upgrade  # noqa: PLC0415

        await upgrade.carry_over(ctx.store)
        await upgrade.carry_over(ctx.store)  # as a second process does that starts at the same time
        await upgrade.index_jobs(ctx.store)
        yield Upgraded(ctx, simulators, receiver, left)


async def test_every_job_ends_every_webhook_goes_out_and_none_is_paid_twice(upgraded: Upgraded) -> None:
    store, jobs = upgraded.ctx.store, upgraded.left["jobs"]
    assert set(jobs.values()) == {"accepted", "uploading", "creating", "waiting", "tracked", "settled"}
    assert await _faults(store) == []

    for _ in range(ROUNDS):
        await upgraded.work()
        now = {job_id: (await store.jobs.read(job_id)).job for job_id in jobs}
        if all(job.status for job in now.values()) and not await _pending(store.redis):
            break
    before = {name: stage for name, stage in jobs.items() if stage == "settled"}
    assert {now[name].status for name in before} == {"succeeded", "failed", "cancelled"}
    assert {job.status for name, job in now.items() if name not in before} == {"succeeded"}

    paid = [job for simulator in upgraded.simulators.values() for job in await simulator.jobs()]
    live = {name for name in jobs if name not in before}
    assert Counter(job["metadata"]["tunehook"] for job in paid) == {f"tunehook/{name}": 1 for name in live}  # type: ignore[index]

    came = Counter((hook.event["data"]["id"], hook.path) for hook in upgraded.receiver.hooks)
    recorded = {name: json.loads(key["value"]) for name, key in upgraded.keys.items() if name.startswith("th:event:")}
    pending = Counter(
        (recorded[f"th:event:{delivery['event_id']}"]["job_id"], urlsplit(delivery["url"]).path)
        for delivery in upgraded.deliveries("pending")
    )
    assert len(pending) == 12
    # The callback and four endpoints; the fifth had answered 410 and stays disabled.
    paths = Counter({"/ok": 2, "/500": 1, "/429": 1, "/hang": 1, "/dead": 1})
    assert came == pending + Counter({(name, path): count for name in live for path, count in paths.items()})
    assert len({hook.id for hook in upgraded.receiver.hooks}) == len(jobs)
    assert await _faults(store) == []


async def _faults(store: Store) -> list[Finding]:
    """Returns what the doctor finds, but that no scheduler ticks: there is none here, and a slow machine takes 10 s."""
    return [
        finding for finding in await doctor.findings(store) if (finding.kind, finding.subject) != ("clock", "clock")
    ]


async def _pending(client: Any) -> bool:
    async for name in client.scan_iter(match="th:delivery:*"):
        if json.loads(await client.hget(name, "doc"))["state"] == "pending":
            return True
    return False


async def test_keys_lists_files_reports_and_an_upload_in_parts_are_there(upgraded: Upgraded) -> None:
    names, keys = upgraded.left["names"], upgraded.keys
    async with TestServer(build_app(upgraded.ctx)) as server:
        url = str(server.make_url("/v1"))
        async with AsyncOpenAI(base_url=url, api_key=names["key"], max_retries=0) as client:
            listed = [job.id async for job in client.fine_tuning.jobs.list(limit=3)]
            assert sorted(listed) == sorted(upgraded.left["jobs"])
            for job_id in listed:
                events = [event.id async for event in client.fine_tuning.jobs.list_events(job_id, limit=5)]
                assert len(events) == len(set(events)) == len(keys[f"th:job-log:{job_id}"]["value"])
            files = {file.id: file async for file in client.files.list()}
            assert {f"th:file:{name}" for name in files} == {name for name in keys if re.match("th:file:file-", name)}
            for file in files.values():
                assert len(await (await client.files.content(file.id)).aread()) == file.bytes
            bad = next(file for file in files.values() if file.filename == "bad.jsonl")
            assert bad.status == "error"
            report: Any = await client.get(f"/files/{bad.id}/report", cast_to=object)
            assert report["errors"] > 0
            done = await client.uploads.complete(names["upload"], part_ids=[names["part"]])
            assert done.file is not None
            assert done.file.bytes == len(upgraded.left["data"][f"uploads/{names['upload']}/{names['part']}"])
            tuned = [model.id async for model in client.models.list() if model.id.startswith("ft:")]
            assert tuned
            endpoints: Any = await client.get("/webhook_endpoints", cast_to=object)
            states = Counter(endpoint["tunehook"]["state"] for endpoint in endpoints["data"])
            assert states == {"enabled": 5, "disabled": 1}
            seen = 0
            for endpoint in endpoints["data"]:
                page: Any = await client.get(f"/webhook_endpoints/{endpoint['id']}/deliveries", cast_to=object)
                seen += len(page["data"])
            assert seen == sum(
                delivery.get("endpoint_id") is not None
                for delivery in upgraded.deliveries("pending", "delivered", "failed")
            )
        async with AsyncOpenAI(base_url=url, api_key=names["revoked"], max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
