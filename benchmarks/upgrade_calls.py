"""Clients for benchmarks/upgrade.py: one reads, one filters, one submits; each call is timed under its phase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.fakes.datasets import dataset

MODEL = "gpt-4.1-mini-2025-04-14"
FILTERS = ("status=succeeded", "stage=tracked", f"model={MODEL}", "q=nosuchtext")
#: A project has 600 requests a minute.
PAUSE_SECONDS = 0.5


@dataclass
class Calls:
    """Calls to one API at a time."""

    url: str  #: with /v1
    session: aiohttp.ClientSession
    callback_url: str
    file_id: str = ""
    phase: str = "before"
    filters: bool = False  #: the API has them
    ms: dict[tuple[str, str], list[float]] = field(default_factory=dict)  #: (phase, what) → times
    failed: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    async def call(self, what: str, method: str, path: str, **options: Any) -> Any:
        """Returns the answer's JSON, or None for a call that failed."""
        phase, begun = self.phase, time.perf_counter()
        try:
            async with self.session.request(method, f"{self.url}{path}", **options) as answer:
                body = await answer.json()
                if answer.status == 503 and body["error"]["code"] == "jobs_being_indexed":
                    what = f"{what}: 503, being indexed"
                elif not answer.ok:
                    raise ValueError(f"{answer.status} {body}")
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            self.failed.append(f"{phase}, {what}: {error!r}")
            return None
        self.ms.setdefault((phase, what), []).append((time.perf_counter() - begun) * 1000)
        return body

    async def upload(self) -> str:
        """Uploads a dataset that nobody has; returns its id."""
        form = aiohttp.FormData({"purpose": "fine-tune"})
        form.add_field("file", dataset(), filename="train.jsonl")
        return str((await self.call("POST a file", "POST", "/files", data=form))["id"])

    async def submit(self) -> None:
        """Makes a job on `file_id`, or on a file of its own."""
        file_id = self.file_id or await self.upload()
        body = {"model": MODEL, "training_file": file_id, "callback_url": self.callback_url}
        job = await self.call("POST a job", "POST", "/fine_tuning/jobs", json=body)
        if job:
            self.made.append(job["id"])

    async def _read(self) -> None:
        listed = await self.call("list", "GET", "/fine_tuning/jobs?limit=20")
        if listed:
            last = listed["data"][-1]["id"]
            await self.call("GET a job", "GET", f"/fine_tuning/jobs/{last}")
            await self.call("list", "GET", f"/fine_tuning/jobs?limit=20&after={last}")

    async def _filter(self) -> None:
        for query in FILTERS if self.filters else ():
            await self.call(f"filter {query}", "GET", f"/fine_tuning/jobs?{query}&limit=20")
        if self.filters:
            await self.call("summary", "GET", "/summary")

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Lets the clients call meanwhile. No call is broken off at the end."""
        over = asyncio.Event()

        async def _repeat(call: Callable[[], Awaitable[None]]) -> None:
            while not over.is_set():
                await call()
                await asyncio.sleep(PAUSE_SECONDS)

        async with asyncio.TaskGroup() as clients:
            for call in (self._read, self._filter, self.submit):
                clients.create_task(_repeat(call))
            try:
                yield
            finally:
                over.set()

    async def count(self, query: str) -> int:
        """Returns how many jobs there are by a filter, page by page."""
        count, after = 0, ""
        while True:
            page = await self.call("count", "GET", f"/fine_tuning/jobs?{query}&limit=100{after}")
            count += len(page["data"])
            if not page["has_more"]:
                return count
            after = f"&after={page['data'][-1]['id']}"
