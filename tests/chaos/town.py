"""A deployment under attack: API, workers, Redis and an upstream, all behind proxies. Who dies is started again."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from cli.valkey_process import socket_url
from tests.chaos import processes
from tests.chaos.board import Board
from tests.chaos.web import Web, web_between
from tests.chaos.wire import RedisProxy, redis_proxy
from tests.fakes.deployment import SECRET_KEY, Program, simulator_process
from tests.fakes.ports import free_port
from tests.fakes.valkey import Valkey, valkey_server
from tunehook.errors import StoreUnavailable
from tunehook.settings import Settings
from tunehook.store.store import Store

API_KEY = "th_attack_" + "s" * 43
CALLBACK_SECRET = "whsec_" + base64.b64encode(b"c" * 32).decode()
PROJECT = "default"
#: What must never be seen, read in one breath: an unsettled job that nobody will ever look at again.
_FORGOTTEN = """
local lost = {}
for _, key in ipairs(redis.call('KEYS', 'th:job:*')) do
  local stage, member = redis.call('HGET', key, 'stage'), string.sub(key, 4)
  if stage and stage ~= 'settled' and not redis.call('ZSCORE', 'th:due:steps', member)
     and not redis.call('ZSCORE', 'th:parked', member) then lost[#lost + 1] = member end
end
return lost
"""


@dataclass
class Town:
    board: Board
    web: Web
    store: Store  #: past the proxy
    service: Program
    workers: list[Program]
    simulator: str  #: root, past the proxy
    url: str
    directory: Path
    sessions: set[int]
    settle: float  #: seconds
    one_redis: tuple[Valkey, RedisProxy] | None  #: unless Redis is replicated
    forgotten: set[str] = field(default_factory=set)
    restarts: int = 0
    resting: bool = False  #: nobody is started again for now
    _seen: list[dict[str, Any]] = field(default_factory=list)
    _seen_at: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def valkey(self) -> Valkey:
        assert self.one_redis is not None
        return self.one_redis[0]

    @property
    def proxy(self) -> RedisProxy:
        assert self.one_redis is not None
        return self.one_redis[1]

    @cached_property
    def client(self) -> AsyncOpenAI:
        """OpenAI's own, which repeats its calls for half an hour: programs start slowly on a busy machine."""
        return AsyncOpenAI(base_url=self.url, api_key=API_KEY, max_retries=200, timeout=20.0)

    async def upstream_jobs(self) -> list[dict[str, Any]]:
        """Everything ever created there, which is what was paid for. At most a second old."""
        async with self._asking:
            if time.monotonic() - self._seen_at > 1.0:
                async with self.web.session.get(f"{self.simulator}/simulator/jobs") as answer:
                    self._seen = (await answer.json())["data"]
                self._seen_at = time.monotonic()
        return self._seen

    async def break_upstream(self, name: str, **rule: object) -> None:
        async with self.web.session.post(f"{self.simulator}/simulator/faults", json={"fault": name, **rule}) as answer:
            answer.raise_for_status()

    async def mend_upstream(self) -> None:
        async with self.web.session.delete(f"{self.simulator}/simulator/faults") as answer:
            answer.raise_for_status()

    async def keep_alive(self) -> None:
        """As a process manager does: whoever has ended is started again."""
        while True:
            await asyncio.sleep(0.1)
            if not self.resting:
                for program in [self.service, *self.workers]:
                    if program.ended:
                        program.stop()
                        program.start()
                        self.sessions.add(program.pid)
                        self.restarts += 1

    async def watch(self) -> None:
        """Every two seconds: is any unsettled job without its due entry?"""
        while True:
            await asyncio.sleep(2.0)
            if not self.resting:
                with suppress(StoreUnavailable):
                    self.forgotten |= set(await self.store.redis.eval(_FORGOTTEN, 0))

    async def answers(self, seconds: float = 90.0) -> None:
        """Returns once the API answers."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    async with self.web.session.get(self.url.replace("/v1", "/livez")) as answer:
                        if answer.ok:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)


async def _ended(task: asyncio.Future[None]) -> None:
    """Cancelled until it has ended: redis-py has been seen to swallow a cancel."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)


def dataset(mark: str, padding: int = 0) -> bytes:
    """Its bytes are this run's own, so that its upload is too; `padding`: characters more in each of 12 lines."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{mark}: where does bird {number} sleep?" + " Tell." * (padding // 6)},
                {"role": "assistant", "content": f"In nest {number}."},
            ]
        }
        for number in range(12)
    ]
    return "\n".join(json.dumps(row) for row in rows).encode()


@asynccontextmanager
async def town(
    directory: Path,
    *,
    workers: int = 2,
    skewed: bool = False,
    settle: float = 2.0,
    redis_url: str = "",
    replicas: int = 0,
) -> AsyncIterator[Town]:
    """Two supervisors, as on two hosts; `skewed`: the second one's clock is a minute ahead.

    `settle`: the programs' settle time in seconds. `redis_url`: of a Redis that is there already, with `replicas` to
    confirm its commits; without it, one Redis is started, behind a proxy.
    """
    board = Board()
    short = Path(mkdtemp(prefix="th-chaos-", dir="/tmp"))
    async with AsyncExitStack() as stack:
        simulator = stack.enter_context(simulator_process(directory, "openai", "--speed", "900", "--slots", "0"))
        programs: list[Program] = []
        sessions: set[int] = set()  #: of all supervisors that there have been
        web = await stack.enter_async_context(web_between(simulator, board, lambda: processes.of_sessions(sessions)))
        one_redis: tuple[Valkey, RedisProxy] | None = None
        direct = through = redis_url
        if not redis_url:
            valkey = stack.enter_context(valkey_server(short))
            direct, through = valkey.url, socket_url(short / "p.sock")
            backend = Path(direct.removeprefix("unix://").partition("?")[0])
            one_redis = valkey, await stack.enter_async_context(redis_proxy(backend, short / "p.sock", board))
        port = free_port()
        settings = {
            "REDIS_URL": through,
            "TUNEHOOK_REPLICAS": str(replicas),
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"{web.root}/v1",
            "TUNEHOOK_PORT": str(port),
            "TUNEHOOK_DATA_DIR": str(directory / "data"),
            "TUNEHOOK_SECRET_KEY": SECRET_KEY,
            "TUNEHOOK_BOOTSTRAP_KEY": API_KEY,
            "TUNEHOOK_BOOTSTRAP_CALLBACK_SECRET": CALLBACK_SECRET,
            "TUNEHOOK_WEBHOOK_ALLOW": "127.0.0.1",
            "TUNEHOOK_POLL_SECONDS": "2",
            "TUNEHOOK_SETTLE_SECONDS": str(settle),
            "TUNEHOOK_WORKERS": str(workers),
        }
        service = Program(["service"], settings, directory / "service.log", forked=True)
        programs.append(Program(["worker"], settings, directory / "worker-1.log", forked=True))
        second = settings | (SKEWED if skewed else {})  # what is preloaded needs a start of its own
        programs.append(Program(["worker"], second, directory / "worker-2.log", forked=not skewed))
        board.supervisors = lambda: [program.pid for program in programs if not program.ended]
        board.api = lambda: 0 if service.ended else service.pid
        for program in (service, *programs):
            program.start()
            sessions.add(program.pid)
            stack.callback(program.stop)
        store = Store.connect(Settings.model_validate({"redis_url": direct}).redis_url)
        stack.push_async_callback(store.close)
        running = Town(
            board,
            web,
            store,
            service,
            programs,
            simulator,
            f"http://127.0.0.1:{port}/v1",
            directory,
            sessions,
            settle,
            one_redis,
        )
        await asyncio.to_thread(service.wait_for, "listening on")
        for program in programs:
            await asyncio.to_thread(program.wait_for, "processes: the ")
        stack.push_async_callback(running.client.close)
        for care in (running.keep_alive(), running.watch()):
            stack.push_async_callback(_ended, asyncio.ensure_future(care))
        yield running
        running.resting = True


def faketime() -> Path | None:
    """Debian's libfaketime, if it is here."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


#: A worker on a host whose clock is a minute ahead.
SKEWED = {"LD_PRELOAD": str(faketime() or ""), "FAKETIME": "+60s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
