"""Tunehook as it runs: processes on a real Valkey, with simulators for upstreams. Started once, used by many tests.

    with deployment(directory) as town:
        town.url, await town.key("a project"), town.simulators["openai"]

A program is killed with the test process, however that ends. `Program.wait_for` waits for a line of its output.
"""

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from cli.valkey_process import connect
from tests.fakes.compose_user import acl_file, as_compose_user
from tests.fakes.forked import Forked, end_with_parent
from tests.fakes.valkey import Valkey, valkey_server
from tunehook import api_keys
from tunehook.model.api_key import OF_A_PROJECT, Scope
from tunehook.model.member import QUEUES, poll_member
from tunehook.security.encryption import Encryption
from tunehook.settings import Settings
from tunehook.store.engine.keys import due
from tunehook.store.store import Store

ROOT = Path(__file__).parents[2]
SECRET_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
#: Its own environment, without what a developer's shell may say about Tunehook.
_FOREIGN = ("TUNEHOOK_", "OPENAI_", "AZURE_OPENAI_", "FIREWORKS_", "NEBIUS_", "TOGETHER_", "REDIS_URL")


@dataclass(frozen=True)
class Caller:
    """A project's key, and the secret that its callbacks are signed with."""

    project: str
    key: str
    callback_secret: str


class Program:
    """One `python -m …` in a process group of its own; its output goes to a file. `root`: whose program it is.

    `forked`: it is ours, and how it starts is not what is tested (forked.py).
    """

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        output: Path,
        *,
        root: Path = ROOT,
        forked: bool = False,
    ) -> None:
        self._root = root
        self._forked = forked
        self.output = output
        self._arguments = arguments
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
        self._environment |= environment
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> None:
        assert self._process is None, "it is running already"
        self.output.touch()
        if self._forked:
            self._process = Forked(self._arguments, self._environment, self._root, self.output)
            return
        with self.output.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                cwd=self._root,
                env=self._environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509  no threads hold locks here yet
            )

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is not running"
        return self._process.pid

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def wait_for(self, pattern: str, seconds: float = 90.0) -> re.Match[str]:
        """The first match in what it has printed. AssertionError, with that, when it ends or `seconds` are over."""
        until = time.monotonic() + seconds
        while (found := re.search(pattern, self.said())) is None:
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > until:
                raise AssertionError(f"{self._arguments} did not say {pattern!r} but:\n{self.said()[-4000:]}")
            time.sleep(0.02)
        return found

    def stop(self) -> None:
        """SIGTERM; SIGKILL for the whole group after ten seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL for every process of its session: RQ puts each work-horse into a process group of its own."""
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP for the whole group: what happens while this program does nothing?"""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)


@dataclass(frozen=True)
class Deployment:
    url: str  #: of the API, with /v1
    valkey: Valkey
    data_dir: Path
    service: Program
    worker: Program
    simulators: Mapping[str, str]  #: name → root (without /v1)
    settings: Mapping[str, str]  #: of service and worker

    async def key(self, project: str, *, scopes: Sequence[Scope] = OF_A_PROJECT) -> Caller:
        """A new key, as `tunehook keys create` makes it."""
        store = Store.connect(self.valkey.url)
        try:
            encryption = Encryption(Settings.model_validate({"secret_key": SECRET_KEY}).secret_key)
            key, secret = await api_keys.create(store, encryption, project=project, name="test", scopes=scopes)
        finally:
            await store.close()
        return Caller(project, key, secret)

    def skip(self, seconds: float) -> None:
        """Moves everything that waits in Redis (due times, holds) ahead in time, so that no test sleeps for it."""
        by = int(seconds * 1000)
        with connect(self.valkey.url) as client:
            for queue in QUEUES:
                for member, _ in client.zscan_iter(due(queue)):
                    client.zincrby(due(queue), -by, member)
            for name in _names(client, "th:hold:*"):
                client.pexpire(name, max(1, client.pttl(name) - by))

    def poll(self, upstream: str) -> None:
        """Makes the upstream's next poll due now, unless one is under way: that is claimed for 20 s."""
        with connect(self.valkey.url) as client:
            planned = client.zscore(due("polls"), poll_member(upstream))
            if planned is not None and planned / 1000 - time.time() > 25:
                client.zadd(due("polls"), {poll_member(upstream): 0})


@contextmanager
def simulator_process(directory: Path, name: str, *options: str, port: int = 0, forked: bool = True) -> Iterator[str]:
    """A simulator as a process; yields its root (without /v1). A benchmark, which counts its CPU, has none `forked`."""
    output = directory / f"simulator-{name}.log"
    program = Program(["simulator", "--port", str(port), *options], {}, output, forked=forked)
    program.start()
    try:
        yield program.wait_for(r"(http://127\.0\.0\.1:\d+)/v1")[1]
    finally:
        program.stop()


@contextmanager
def deployment(
    directory: Path, *, simulators: Mapping[str, tuple[str, ...]], all_names: bool = False, **environment: str
) -> Iterator[Deployment]:
    """`simulators`: options of each, by its upstream's name. With `all_names`, the one for `openai` is there a second
    time as `locked`, and in its other dialect as `azure`; each is one more upstream that is polled all the time.

    `environment` is added to the settings of service and worker. WORKER_DATA_DIR in it: the worker's own, as on
    another machine.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        acl = acl_file(directory / "valkey", "user default on nopass ~* &* +@all")  # `default` is the tests' own
        valkey = stack.enter_context(valkey_server(directory / "valkey", *acl))
        roots = {
            name: stack.enter_context(simulator_process(directory, name, *options))
            for name, options in simulators.items()
        }
        named = {name: root for name, root in roots.items() if name != "openai"}
        azure: dict[str, str] = {}
        if all_names:
            named["locked"] = roots["openai"]
            azure = {"AZURE_OPENAI_API_KEY": "az-simulated", "AZURE_OPENAI_ENDPOINT": roots["openai"]}
        settings = {
            "REDIS_URL": as_compose_user(valkey.url),
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"{roots['openai']}/v1",
            **azure,
            "TUNEHOOK_PORT": "0",
            "TUNEHOOK_DATA_DIR": str(directory / "data"),
            "TUNEHOOK_SECRET_KEY": SECRET_KEY,
            "TUNEHOOK_WEBHOOK_ALLOW": "127.0.0.1",
            "TUNEHOOK_POLL_SECONDS": "1",
            "TUNEHOOK_SETTLE_SECONDS": "2",
            **{f"TUNEHOOK_UPSTREAMS__{name.upper()}__BASE_URL": f"{root}/v1" for name, root in named.items()},
            **{f"TUNEHOOK_UPSTREAMS__{name.upper()}__API_KEY": "sk-simulated" for name in named},
            **environment,
        }
        own = {"TUNEHOOK_DATA_DIR": settings.pop("WORKER_DATA_DIR", settings["TUNEHOOK_DATA_DIR"])}
        service = Program(["service"], settings, directory / "service.log", forked=True)
        worker = Program(["worker"], settings | own, directory / "worker.log", forked=True)
        for program in (service, worker):
            program.start()
            stack.callback(program.stop)
        url = service.wait_for(r"listening on (http://127\.0\.0\.1:\d+)")[1]
        worker.wait_for(r"processes: the ")
        yield Deployment(f"{url}/v1", valkey, directory / "data", service, worker, roots, settings)


def _names(client: redis.Redis, pattern: str) -> list[bytes]:
    return list(client.scan_iter(match=pattern))
