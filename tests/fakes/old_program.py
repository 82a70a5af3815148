"""Version 0.1 as it ran before an upgrade: its own programs, stopped with live jobs in every stage.

    async with filled(checkout(directory / "old"), directory) as left: ...

`python -m tests.fakes.old_program` writes what it left to tests/integration/store/records-0.1.json.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from aiohttp import web
from openai import AsyncOpenAI

from cli.valkey_process import connect
from tests.fakes.datasets import dataset
from tests.fakes.deployment import SECRET_KEY, Program
from tests.fakes.ports import free_port
from tests.fakes.receiver import Receiver
from tests.fakes.serving import serving
from tests.fakes.simulator import Simulator, running_simulator
from tests.fakes.valkey import Valkey, valkey_server

#: The last commit of version 0.1.
COMMIT = "f5706de"
ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "tests" / "integration" / "store" / "records-0.1.json"
MODEL = "gpt-4.1-mini-2025-04-14"
SUBSCRIBED = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
#: An upstream each: what goes wrong there, on which path.
UPSTREAMS = {
    "openai": None,
    "full": ("concurrent_jobs", "/fine_tuning/jobs$"),
    "quota": ("insufficient_quota", "/fine_tuning/jobs$"),
    "lost": ("after_reset", "/fine_tuning/jobs$"),
    "down": ("http_503", "/(files|uploads)$"),
    "slow": ("hang", "/(files|uploads)$"),
}


@dataclass
class Left:
    """What the old programs left, with their upstreams and receiver still there."""

    valkey: Valkey
    data_dir: Path
    settings: dict[str, str]
    simulators: dict[str, Simulator]
    receiver: "Moody"
    jobs: dict[str, str]  #: our id → the stage in which it was left
    dead: str  #: a root where no server is
    names: dict[str, str]  #: of an `upload` in parts and its `part`; an API `key`, and a `revoked` one


class Moody(Receiver):
    """Answers as the last word of the path says, until `mended`: `/ok`, a status, or `/hang`."""

    mended: asyncio.Event

    async def take(self, request: web.Request) -> web.Response:
        kind = request.path.rpartition("/")[2]
        if kind == "hang" and not self.mended.is_set():
            await self.mended.wait()
            return web.Response(status=503)  # to one that was killed meanwhile
        if kind != "ok" and not self.mended.is_set():
            return web.Response(status=int(kind))
        return await super().take(request)


def checkout(directory: Path, commit: str = COMMIT) -> Path:
    """Unpacks version 0.1, or another. Raises CalledProcessError where the history is not there (a shallow clone)."""
    directory.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=directory, input=packed, check=True)
    return directory


@asynccontextmanager
async def running_moody() -> AsyncIterator[Moody]:
    receiver = Moody()
    receiver.mended = asyncio.Event()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    async with serving(app) as receiver.url:
        try:
            yield receiver
        finally:
            receiver.mended.set()


@asynccontextmanager
async def filled(root: Path, directory: Path) -> AsyncIterator[Left]:
    """Runs the programs in `root` until every stage is there, then kills them."""
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(valkey_server(directory / "valkey"))
        simulators = {name: await stack.enter_async_context(running_simulator(slots=0)) for name in UPSTREAMS}
        receiver = await stack.enter_async_context(running_moody())
        others = {name: simulator for name, simulator in simulators.items() if name != "openai"}
        settings = {
            "REDIS_URL": valkey.url,
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": simulators["openai"].base_url,
            "TUNEHOOK_PORT": "0",
            "TUNEHOOK_DATA_DIR": str(directory / "data"),
            "TUNEHOOK_SECRET_KEY": SECRET_KEY,
            "TUNEHOOK_WEBHOOK_ALLOW": "127.0.0.1",
            "TUNEHOOK_POLL_SECONDS": "4",  # of six upstreams
            "TUNEHOOK_SETTLE_SECONDS": "600",
            **{f"TUNEHOOK_UPSTREAMS__{name.upper()}__BASE_URL": one.base_url for name, one in others.items()},
            **{f"TUNEHOOK_UPSTREAMS__{name.upper()}__API_KEY": "sk-simulated" for name in others},
        }
        left = Left(
            valkey, directory / "data", settings, simulators, receiver, {}, f"http://127.0.0.1:{free_port()}", {}
        )
        service, worker = (
            Program([name], settings, directory / f"old-{name}.log", root=root) for name in ("service", "worker")
        )
        for program in (service, worker):
            program.start()
            stack.callback(program.stop)
        url = (await asyncio.to_thread(service.wait_for, r"listening on (http://\S+)"))[1]
        await asyncio.to_thread(worker.wait_for, "processes: the clock and")
        filling = _Filling(root, left, f"{url}/v1", worker)
        await filling.run()
        for program in (service, worker):
            if not program.ended:
                program.kill()
            program.stop()
        left.jobs = {name: state["stage"] for name, state in states(left).items()}
        yield left


class _Filling:
    def __init__(self, root: Path, left: Left, url: str, worker: Program) -> None:
        self._root, self._left, self._url, self._worker = root, left, url, worker

    async def run(self) -> None:
        key, revoked = self._key("p"), self._key("p")
        self._command("keys", "revoke", revoked)
        self._left.names |= {"key": key, "revoked": revoked}
        async with AsyncOpenAI(base_url=self._url, api_key=key, max_retries=0) as self._client:
            for path in ("ok", "500", "410", "429", "hang"):
                await self._subscribe(f"{self._left.receiver.url}/{path}")
            await self._subscribe(f"{self._left.dead}/dead")
            await self._ended()
            await self._under_way()
            await self._files()
            self._worker.kill()
            await self._job()  # accepted, and no step has begun

    def _command(self, *arguments: str) -> str:
        program = "import sys; from cli.main import main; sys.exit(main())"
        environment = {"PATH": os.environ["PATH"], **self._left.settings}
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, cwd=self._root, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def _key(self, project: str) -> str:
        return self._command("keys", "create", "--project", project).split("API key:")[1].split()[0]

    async def _subscribe(self, url: str) -> None:
        body: dict[str, Any] = {"name": "old", "url": url, "event_types": SUBSCRIBED}
        await self._client.post("/webhook_endpoints", body=body, cast_to=object)

    async def _job(self, upstream: str = "openai", **more: Any) -> str:
        file = await self._client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        job = await self._client.fine_tuning.jobs.create(
            training_file=file.id,
            model=MODEL,
            extra_body={
                "callback_url": f"{self._left.receiver.url}/ok",
                "tunehook": {"upstream": upstream},
                **more,
            },
        )
        return job.id

    async def _ended(self) -> None:
        """A job of each end, and its webhooks: delivered, to be tried again, given up, under way."""
        ends = [await self._job(), await self._job(metadata={"simulate": "fail"}), await self._job()]
        await self._until(lambda now: all(now[name]["stage"] == "tracked" for name in ends))
        await self._client.fine_tuning.jobs.cancel(ends[2])
        await self._left.simulators["openai"].advance(3600)
        await self._until(lambda now: all(now[name]["stage"] == "settled" for name in ends))
        await self._until(lambda now: len(self._left.receiver.hooks) >= 6)  # /ok, from callback and subscription
        await asyncio.sleep(3)  # the others' first attempts are over

    async def _under_way(self) -> None:
        for name, trouble in UPSTREAMS.items():
            if trouble is not None:
                await self._left.simulators[name].fault(trouble[0], path=trouble[1], method="POST", times=None)
        # Lists hide what the create with the lost answer has made.
        await self._left.simulators["lost"].fault("list_lag", path="/jobs$", method="GET", times=None, seconds=86400)
        running = [await self._job(), await self._job(metadata={"team": "owls"})]
        waiting = [await self._job(name) for name in ("full", "quota", "down")]
        lost = await self._job("lost")
        await self._until(lambda now: all(now[name]["stage"] == "tracked" for name in running))
        await self._left.simulators["openai"].advance(120)
        await self._until(lambda now: all(now[name].get("waiting") for name in waiting))
        await self._until(lambda now: all(now[name]["seen"]["status"] == "running" for name in running))
        # Last, since it holds the one process for uploads.
        slow = await self._job("slow")
        await self._until(lambda now: now[slow]["stage"] == "uploading" and now[lost]["stage"] == "creating")

    async def _files(self) -> None:
        await self._client.files.create(file=("bad.jsonl", b"not JSON\n"), purpose="fine-tune")
        expiring: Any = {"anchor": "created_at", "seconds": 86400}
        await self._client.files.create(file=("e.jsonl", dataset()), purpose="fine-tune", expires_after=expiring)
        whole = dataset()
        upload = await self._client.uploads.create(
            bytes=len(whole), filename="parts.jsonl", mime_type="application/jsonl", purpose="fine-tune"
        )
        part = await self._client.uploads.parts.create(upload.id, data=whole)
        self._left.names |= {"upload": upload.id, "part": part.id}

    async def _until(self, holds: Callable[[dict[str, dict[str, Any]]], bool], seconds: float = 90.0) -> None:
        until = time.monotonic() + seconds
        while not holds(found := await asyncio.to_thread(states, self._left)):
            assert time.monotonic() < until, found
            await asyncio.sleep(0.2)


def states(left: Left) -> dict[str, dict[str, Any]]:
    """Our id → the job's record as it lies in Redis."""
    with connect(left.valkey.url) as client:
        names = [name.decode() for name in client.scan_iter(match="th:job:*")]
        return {name.removeprefix("th:job:"): json.loads(client.hget(name, "doc") or b"{}") for name in names}


async def record(left: Left) -> dict[str, Any]:
    """Everything, as JSON: Redis' keys, the data directory, what the upstreams have, and the receiver's address."""
    files = [path for path in sorted(left.data_dir.rglob("*")) if path.is_file() and ".incoming" not in path.name]
    data = {str(path.relative_to(left.data_dir)): path.read_text("latin-1") for path in files}
    ours = {text: name for name, text in data.items()}
    upstreams = {}
    for name, simulator in left.simulators.items():
        async with AsyncOpenAI(base_url=simulator.base_url, api_key="k") as client:
            sent = [file.id async for file in client.files.list(purpose="fine-tune")]
            there = {one: ours[(await client.files.content(one)).read().decode()] for one in sent}
        live = [job for job in await simulator.jobs() if job["status"] not in ("succeeded", "failed", "cancelled")]
        upstreams[name] = {"files": there, "jobs": live}
    with connect(left.valkey.url) as client:
        keys = {name.decode(): _value(client, name) for name in sorted(client.scan_iter(match="th:*"))}
        now = client.time()[0]
    return {
        "commit": COMMIT,
        "now": now,
        "receiver": left.receiver.url,
        "dead": left.dead,
        "jobs": left.jobs,
        "names": left.names,
        "upstreams": upstreams,
        "data": data,
        "keys": keys,
    }


def _value(client: redis.Redis, name: bytes) -> dict[str, Any]:
    kind = str(_text(client.type(name)))
    read: dict[str, Callable[[], Any]] = {
        "string": lambda: client.get(name),
        "hash": lambda: client.hgetall(name),
        "set": lambda: sorted(client.smembers(name)),
        "zset": lambda: client.zrange(name, 0, -1, withscores=True),
        "list": lambda: client.lrange(name, 0, -1),
        "stream": lambda: client.xrange(name),
    }
    ttl = client.pttl(name)
    return {"type": kind, "value": _text(read[kind]()), **({"ttl": ttl} if ttl > 0 else {})}


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_text(name): _text(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_text(inner) for inner in value]
    return value


def _lines(value: dict[str, Any]) -> str:
    """JSON with one member of each part a line, so that a difference can be read."""
    parts = []
    for name, part in value.items():
        if isinstance(part, dict):
            members = (f"{json.dumps(key)}: {json.dumps(inner, separators=(',', ':'))}" for key, inner in part.items())
            parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(members) + "\n}")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(part)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tunehook-old-") as name:
        directory = Path(name)
        async with filled(checkout(directory / "old"), directory) as left:
            RECORDS.write_text(_lines(await record(left)), "utf-8")
    sys.stdout.write(f"{RECORDS}\n")


if __name__ == "__main__":
    asyncio.run(main())
