"""A subscriber's server on a free port, in the test's own loop: records webhooks, answers as it is told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.serving import serving


@dataclass(frozen=True)
class Hook:
    """One POST as it came. `at` is unix seconds; header names are lower case."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Receiver:
    """`url` takes any path below it. `answers` are the statuses of the next answers, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): text for name, text in request.headers.items()}
        hook = Hook(time.time(), request.path, headers, await request.read())
        async with self._news:
            self.hooks.append(hook)
            self._news.notify_all()
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def wait(self, count: int = 1, seconds: float = 120.0) -> list[Hook]:
        """Returns the hooks once there are `count`; TimeoutError when that takes longer than `seconds`."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.hooks) >= count)
        return list(self.hooks)


@asynccontextmanager
async def running_receiver(*answers: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(answers=list(answers))
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    async with serving(app) as root:
        receiver.url = f"{root}/hook"
        yield receiver
