"""What a test prepares through the API, so that the page has something to show."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from tests.fakes.datasets import dataset
from tests.fakes.deployment import Caller

MODEL = "gpt-4.1-mini-2025-04-14"
#: Three faults that a report names with their lines, beside lines that are good.
BAD_DATASET = b"".join(
    [
        *(b'{"messages": [{"role": "user", "content": "Name %d"}, {"role": "assistant", "content": "x"}]}\n' % n
          for n in range(14)),
        b'{"messages": [{"role": "user", "content": "And this?"}]}\n',
        b'{"messages": [{"role": "user", "content": "Broken"}\n',
        b'{"messages": [{"role": "user", "content": ""}, {"role": "owl", "content": "Hoo"}]}\n',
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Project:
    """One project's API, called with its key."""

    url: str  #: with /v1
    caller: Caller
    http: aiohttp.ClientSession

    @property
    def key(self) -> str:
        return self.caller.key

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Returns the JSON of a 2xx answer. AssertionError for any other.

        A store that answers late on a busy machine is a 503, after which the request is sent again, as SDKs do.
        """
        headers = {"authorization": f"Bearer {self.key}", "idempotency-key": secrets.token_hex(8)}
        until = time.monotonic() + 60
        while True:
            async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
                found: dict[str, Any] = await answer.json()
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > until:
                break
            await asyncio.sleep(1)
        assert answer.ok, f"{method} {path}: {answer.status} {found}"
        return found

    async def file(self, content: bytes | None = None, name: str = "train.jsonl", purpose: str = "fine-tune") -> str:
        """Uploads a dataset; returns its id."""
        form = aiohttp.FormData({"purpose": purpose})
        form.add_field("file", dataset() if content is None else content, filename=name)
        headers = {"authorization": f"Bearer {self.key}"}
        async with self.http.post(f"{self.url}/files", data=form, headers=headers) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.ok, found
            return str(found["id"])

    async def job(self, *, upstream: str = "fast", file: str | None = None, **members: object) -> str:
        """Starts a job; returns its id."""
        body = {"model": MODEL, "training_file": file or await self.file(), **members}
        body["tunehook"] = {"upstream": upstream, **dict(body.get("tunehook") or {})}  # type: ignore[call-overload]
        return str((await self.call("POST", "/fine_tuning/jobs", body))["id"])

    async def ended(self, job_id: str, status: str = "succeeded") -> dict[str, Any]:
        """Waits until a job has ended; returns it. AssertionError if it ended otherwise."""
        async with asyncio.timeout(180):
            while (job := await self.call("GET", f"/fine_tuning/jobs/{job_id}?wait=30"))["finished_at"] is None:
                pass
        assert job["status"] == status, job
        return job

    async def becomes(self, job_id: str, wanted: Callable[[dict[str, Any]], bool], path: str = "") -> dict[str, Any]:
        """Waits until a job, or what lies below it, is as wanted; returns it."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            found = await self.call("GET", f"/fine_tuning/jobs/{job_id}{path}")
            if wanted(found):
                return found
            await asyncio.sleep(0.2)
        raise AssertionError(found)

    async def has_steps(self, job_id: str, steps: int) -> None:
        """Waits until a job's metrics go so far."""
        await self.becomes(job_id, lambda found: (found["last_step"] or 0) >= steps, "/metrics")
