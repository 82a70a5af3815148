"""One look at 10,000 live jobs: how many requests to the upstream, and how much of our own time.

    python -m benchmarks.look [--jobs 10000] [--news 100]

The upstream is the simulator, in a process of its own; the jobs are live there and in our store. Looked at three
times: twice when nothing has happened, and once when some jobs have ended meanwhile. Beside the pages, each look
fetches the events of 50 jobs in turn. CPU is that of the looking process alone. Beside it: the same pages read by
aiohttp and parsed by json.loads. Wanted: a request for each hundred jobs and those with news, 10,000 jobs within 0.5 s
of CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.goals import figure
from benchmarks.table import table
from tests.fakes.deployment import SECRET_KEY, simulator_process
from tests.fakes.valkey import valkey_server
from tunehook.context import Context, open_context
from tunehook.jobs import poller
from tunehook.model.job import FileRef, Job, JobSpec, Stage, UpstreamJob, mark_of
from tunehook.model.record import new_id
from tunehook.settings import Settings
from tunehook.store.engine.commit import Change

MODEL = "gpt-4.1-mini-2025-04-14"
SIDE_BY_SIDE = 32
Row = tuple[str, str, str, str]
EVENTS_A_LOOK = 50


async def side_by_side(calls: list[Any]) -> list[Any]:
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def _one(call: Any) -> Any:
        async with gate:
            return await call

    return await asyncio.gather(*(_one(call) for call in calls))


class Simulated:
    """The simulator as whoever owns the account sees it."""

    def __init__(self, root: str, session: aiohttp.ClientSession) -> None:
        self._root = root
        self._session = session

    async def call(self, method: str, path: str, **options: Any) -> Any:
        async with self._session.request(method, f"{self._root}{path}", **options) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()

    async def train(self, tags: list[str]) -> None:
        """A job for each tag, which runs and never ends."""
        form = aiohttp.FormData({"purpose": "fine-tune"})
        lines = (Path(__file__).parents[1] / "examples" / "sarcastic.jsonl").read_bytes()
        form.add_field("file", lines, filename="train.jsonl")
        file = await self.call("POST", "/v1/files", data=form)
        bodies = (
            {"model": MODEL, "training_file": file["id"], "metadata": {"tunehook": tag, "simulate": "stall"}}
            for tag in tags
        )
        await side_by_side([self.call("POST", "/v1/fine_tuning/jobs", json=body) for body in bodies])
        await self.call("POST", "/simulator/clock", json={"advance": 3600})

    async def end(self, upstream_job_ids: list[str]) -> None:
        paths = [f"/v1/fine_tuning/jobs/{job_id}/cancel" for job_id in upstream_job_ids]
        await side_by_side([self.call("POST", path) for path in paths])

    async def requests(self) -> Counter[str]:
        """What was read so far. The simulator keeps the last 10,000 requests, of which reads are a small part."""
        kinds = {"/fine_tuning/jobs": "pages", "/events": "events"}
        found: Counter[str] = Counter()
        for request in (await self.call("GET", "/simulator/requests"))["data"]:
            if request["method"] != "GET":
                continue
            path = str(request["path"]).partition("?")[0]
            found[next((kind for end, kind in kinds.items() if path.endswith(end)), "others")] += 1
        return found

    async def read_plainly(self, count: int) -> None:
        after = ""
        for _ in range(-(-count // 100)):
            page = await self.call("GET", f"/v1/fine_tuning/jobs?limit=100{after}")
            after = f"&after={page['data'][-1]['id']}"


def tracked(ctx: Context, seen: UpstreamJob, job_id: str) -> Change:
    """A job of ours as it is while the upstream trains it."""
    job = Job(
        id=job_id,
        project="default",
        key_id="benchmark",
        created_at=seen.created_at,
        stage=Stage.TRACKED,
        spec=JobSpec(model=MODEL, training_file="file-here", seed=1),
        upstream="openai",
        training=FileRef(id="file-here", sha256="0" * 64, bytes=1),
        upstream_job_id=seen.id,
        seen=seen,
    )
    change: Change = ctx.store.jobs.submission(job)
    change.needs.clear()  # the file is of no interest here
    change.due(f"job:{job_id}", 6 * 3600)
    return ctx.store.upstreams.track(change, job, seen)


async def settle_in(ctx: Context, simulated: Simulated, count: int) -> list[str]:
    """Makes the jobs there and here; returns their ids there."""
    ids = [new_id("ftjob-") for _ in range(count)]
    await simulated.train([f"{ctx.instance}/{job_id}" for job_id in ids])
    found: list[UpstreamJob] = []
    more = True
    while more:
        page, more = await ctx.upstreams["openai"].page(found[-1].id if found else None)
        found += page
    pairs = [(seen, mark_of(seen)[1]) for seen in found]
    changes = [tracked(ctx, seen, job_id) for seen, job_id in pairs if job_id]
    for at in range(0, len(changes), 100):
        await ctx.store.commit_many(changes[at : at + 100])
    return [seen.id for seen in found]


async def measure(name: str, ctx: Context, simulated: Simulated) -> Row:
    before = await simulated.requests()
    begun, cpu = time.perf_counter(), time.process_time()
    await poller.poll(ctx, "openai")
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
    asked = await simulated.requests() - before
    if name.startswith("look 2"):
        figure("look-requests", sum(asked.values()) - EVENTS_A_LOOK)
        figure("look", cpu)
    return (
        name,
        ", ".join(f"{number} {kind}" for kind, number in sorted(asked.items())),
        f"{cpu:.2f}",
        f"{seconds:.1f}",
    )


async def run(directory: Path, root: str, redis_url: str, count: int, news: int) -> list[Row]:
    settings = Settings.model_validate(
        {
            "redis_url": redis_url,
            "data_dir": directory,
            "secret_key": SECRET_KEY,
            "openai_api_key": "sk-simulated",
            "openai_base_url": f"{root}/v1",
        }
    )
    headers = {"Authorization": "Bearer sk-simulated"}
    async with open_context(settings) as ctx, aiohttp.ClientSession(headers=headers) as session:
        simulated = Simulated(root, session)
        upstream_ids = await settle_in(ctx, simulated, count)
        rows = [await measure(f"look {number} of {count:,}, nothing new", ctx, simulated) for number in (1, 2)]
        await simulated.end(upstream_ids[:: max(1, count // news)][:news])
        rows.append(await measure(f"look 3, {news} have ended", ctx, simulated))
        left = len(await ctx.store.upstreams.live("openai"))
        assert left == count - news, f"{count - left} jobs were settled, not {news}"
        cpu = time.process_time()
        await simulated.read_plainly(count)
        plain = time.process_time() - cpu
        rows.append(("aiohttp and json.loads, the same pages", f"{-(-count // 100)} pages", f"{plain:.2f}", ""))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.look", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--news", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name:
        directory = Path(name)
        with (
            valkey_server(directory / "valkey", "--appendfsync", "no") as valkey,
            simulator_process(directory, "openai", "--slots", "0", forked=False) as root,
        ):
            rows = asyncio.run(run(directory, root, valkey.url, asked.jobs, asked.news))
    table("One look", [("", "requests", "CPU s", "seconds"), *rows])


if __name__ == "__main__":
    main()
