"""Runs Tunehook on this machine: Valkey, simulator, API and workers, in order, ended together.

On Linux a SIGKILL of this process ends them too (PR_SET_PDEATHSIG). Elsewhere they go on until they are ended.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from cli.embedded import EmbeddedValkey, start_embedded
from cli.valkey_process import end
from tunehook import settings
from tunehook.child_process import end_with_parent
from tunehook.errors import TunehookError
from tunehook.security import signature

READY_SECONDS = 30.0
END_SECONDS = 35.0  # more than the 30 s that the workers give their steps


class DidNotStart(TunehookError):
    """{name} did not start. Its log ends:\n{last}"""


@dataclass(frozen=True)
class Access:
    """Keys and secrets of this installation, kept in the data directory for the next `up`."""

    api_key: str
    callback_secret: str
    secret_key: str


class Processes:
    """A context manager that runs them inside. `changes`: environment settings of the caller's own.

    `train`: run a trainer as well, as the upstream `local`; `trainer` is then its URL and its key."""

    def __init__(
        self, found: settings.Settings, changes: Mapping[str, str], *, simulate: bool, train: bool = False
    ) -> None:
        self._data_dir = found.data_dir.absolute()
        self._found = found
        self._changes = dict(changes)
        self._simulate = simulate
        self._train = train
        self._stack = ExitStack()
        self._valkey: EmbeddedValkey | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, Path] = {}
        self.access = _access(self._data_dir)
        self.simulator_url: str | None = None
        self.trainer: tuple[str, str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def _start(self) -> None:
        changes = self._changes
        if not self._found.redis_url:
            self._valkey = self._stack.enter_context(start_embedded(self._data_dir))
            changes["REDIS_URL"] = self._valkey.url
        if self._simulate:
            speed = changes.get("TUNEHOOK_SIMULATOR_SPEED", str(self._found.simulator_speed))
            port = _free_port()
            # Not waited for: the first job needs it, the start does not.
            self._launch("simulator", "--port", str(port), "--speed", speed)
            self.simulator_url = f"http://127.0.0.1:{port}/v1"
            changes |= dict.fromkeys(settings.UPSTREAM_NAMES, "")
            changes["OPENAI_BASE_URL"] = self.simulator_url
            changes["OPENAI_API_KEY"] = "sk-simulated"
        if self._train:
            self._start_trainer()
        port = self._found.port or _free_port()
        self.url = _url(self._found.host, port)
        _refuse_taken(self._found.host, port)
        changes |= {
            "TUNEHOOK_PORT": str(port),
            "TUNEHOOK_DATA_DIR": str(self._data_dir),
            "TUNEHOOK_SECRET_KEY": (
                self._found.secret_key.get_secret_value() if self._found.secret_key else self.access.secret_key
            ),
        }
        if self._found.bootstrap_key is None:
            changes["TUNEHOOK_BOOTSTRAP_KEY"] = self.access.api_key
            changes["TUNEHOOK_BOOTSTRAP_CALLBACK_SECRET"] = self.access.callback_secret
        self._launch("service")
        self._launch("worker")
        self._wait_until_ready()

    def _start_trainer(self) -> None:
        """Starts the trainer and makes it the upstream `local`. It is not waited for, as the simulator is not."""
        port, key = _free_port(), secrets.token_urlsafe(24)
        self.trainer = f"http://127.0.0.1:{port}/v1", key
        self._changes |= {
            "TUNEHOOK_TRAINER_KEYS": key,
            "TUNEHOOK_UPSTREAMS__LOCAL__KIND": "trainer",
            "TUNEHOOK_UPSTREAMS__LOCAL__BASE_URL": f"http://127.0.0.1:{port}/v1",
            "TUNEHOOK_UPSTREAMS__LOCAL__API_KEY": key,
        }
        if self._found.redis_url:
            self._changes["REDIS_URL"] = self._found.redis_url
        self._launch("trainer", "--port", str(port), "--data-dir", str(self._data_dir / "trainer"))

    def _launch(self, module: str, *arguments: str) -> None:
        log = self._data_dir / f"{module}.log"
        self._logs[module] = log
        with log.open("wb") as sink:
            self._running[module] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=settings.environment(**self._changes),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # on Ctrl-C we end them, in order
                preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  (two system calls, on what was loaded before)
            )

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while True:
            self.check()
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):  # noqa: S310  (our own http URL)
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > until:
                    raise DidNotStart(name="service", last=self.last("service")) from None
            time.sleep(0.02)

    def check(self) -> None:
        """Starts Valkey again if it has ended. Raises DidNotStart (another process ended), ServerDidNotStart."""
        if self._valkey is not None:
            self._valkey.check()
        for name, process in self._running.items():
            if process.poll() is not None:
                raise DidNotStart(name=name, last=self.last(name))

    def last(self, name: str) -> str:
        """Returns the last lines of a process' log."""
        lines = self._logs[name].read_text(errors="replace").splitlines()[-15:]
        return "\n".join(lines) or "(the log is empty)"

    def stop(self) -> None:
        """API first, so that nothing new is accepted; Valkey last."""
        for name in ("service", "worker", "simulator", "trainer"):
            if name in self._running:
                end(self._running.pop(name), END_SECONDS)
        self._stack.close()


def _access(data_dir: Path) -> Access:
    """Returns the keys and secrets of a data directory; makes them once, readable by their owner only."""
    path = data_dir / "local.json"
    if path.exists() and (kept := path.read_text()):  # a start that was killed while it wrote may leave an empty file
        return Access(**json.loads(kept))
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    access = Access(
        api_key=f"th_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}",
        callback_secret=signature.new_secret(),
        secret_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    )
    aside = path.with_name("local.json.new")  # renamed when complete: a kill leaves no half file
    aside.unlink(missing_ok=True)
    aside.touch(mode=0o600, exist_ok=False)
    aside.write_text(json.dumps(access.__dict__))
    aside.rename(path)
    return access


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PortTaken(TunehookError):
    """Port {port} on {host} is taken by another program. Stop it, or choose another port with TUNEHOOK_PORT."""


def _refuse_taken(host: str, port: int) -> None:
    """Raises PortTaken. The service reports other errors of the address when it starts."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return
    for family, kind, protocol, _, address in addresses:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as the service's own
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortTaken(host=host, port=port) from None


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
