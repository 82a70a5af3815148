"""A real Valkey for tests: `valkey_server(directory)`, or the fixtures `valkey_session` and `valkey`.

On Linux it ends with the test process, however that ends.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from cli.valkey_process import connect, end, find_server, launch, socket_url, wait_until_ready
from tests.fakes.compose_user import acl_file, rights
from tests.fakes.ports import free_port

T = TypeVar("T")
SOCKET_PATH_BYTES = 100
#: What tests do by themselves, and no program of ours.
OF_TESTS = "+flushall +flushdb +script|flush +keys +config|set +config|resetstat +restore"
_starter = ThreadPoolExecutor(1)


class Valkey:
    """A server that a test may kill and start again. `url` is a unix socket and stays the same throughout.

    With `port`, `tcp_url` reaches it too, on 127.0.0.1; 0 picks a free one.
    """

    def __init__(self, directory: Path, private: Path, args: tuple[str, ...], port: int | None) -> None:
        self.directory = directory
        beside = directory / "valkey.sock"
        short = len(os.fsencode(beside)) <= SOCKET_PATH_BYTES  # pytest's directories have long names
        self._socket = beside if short else private / "valkey.sock"
        self.url = socket_url(self._socket)
        self.tcp_url: str | None = None
        if port is not None:
            port = port or free_port()
            self.tcp_url = f"redis://127.0.0.1:{port}/0"
            args = ("--bind", "127.0.0.1", "--port", str(port), *args)
        self._args = args
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *args: str) -> None:
        """Returns once PING is answered. `args`: options of this start alone."""
        assert self.process is None, "it is running already"
        options = (*self._args, *args)
        self.process = in_lasting_thread(lambda: launch(find_server(), self.directory, self._socket, *options))
        wait_until_ready(self.url, self.process, self.directory / "valkey.log")

    def stop(self) -> None:
        """As at a normal shutdown: SIGTERM, and waits."""
        if self.process is not None:
            end(self.process)
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process is not None, "it is not running"
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone. The server stays dead until `restart()`."""
        assert self.process is not None, "it is not running"
        self.process.kill()
        self.stop()

    def restart(self) -> None:
        """Starts it again on the same files and the same addresses, stopping it first if it still runs."""
        self.stop()
        self.start()

    def flush(self) -> None:
        """Empties every database, and forgets scripts and functions: they survive FLUSHALL."""
        with connect(self.url) as client:
            client.flushall()
            client.script_flush()


@contextmanager
def valkey_server(directory: Path, *args: str, port: int | None = None, start: bool = True) -> Iterator[Valkey]:
    """A Valkey on `directory` (made if missing), durable as ours must be, unless `args` say otherwise.

    `args` are server options such as `"--appendfsync", "everysec"`; the last one wins.
    """
    durable = (
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--maxmemory-policy",
        "noeviction",
        "--save",
        "",
    )
    directory.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix="tunehook-test-", dir="/tmp"))
    server = Valkey(directory.absolute(), private, (*durable, *args), port)
    try:
        if start:
            server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(private, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One server for all tests. Take `valkey` instead, unless the session's data may be anything.

    Its clients may do what the programs may in compose, and what tests do beside them: a command of ours that is
    missing in deploy/redis/users.acl fails here.
    """
    directory = tmp_path_factory.mktemp("valkey")
    with valkey_server(directory, *acl_file(directory, f"user default on nopass {rights()} {OF_TESTS}")) as server:
        yield server


@pytest.fixture
def valkey(valkey_session: Valkey) -> Valkey:
    """The session's server, empty. Tests that kill or reconfigure one start their own by `valkey_server`."""
    valkey_session.flush()
    return valkey_session


def in_lasting_thread(launch: Callable[[], T]) -> T:
    """Starts a server. On Linux it ends with the thread that started it, and tests call this from threads that end."""
    return _starter.submit(launch).result()
