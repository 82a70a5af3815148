"""A primary, replicas and a Sentinel, all real: `replicated(directory)`. The primary may be destroyed with its disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis

from cli.valkey_process import END_SECONDS, connect, find_server
from tests.fakes.ports import free_port
from tests.fakes.valkey import Valkey, in_lasting_thread, valkey_server
from tunehook.child_process import end_with_parent, without_secrets

NAME = "tunehook"
#: For whatever servers do on a machine that does other things as well.
PATIENCE = 120.0


class Replicated:
    """`url` names the Sentinel, behind an address where none answers. `nodes` are by port."""

    def __init__(self, directory: Path, nodes: list[Valkey], sentinel_port: int, down_after: float) -> None:
        self.directory = directory
        self.nodes = {_port(node): node for node in nodes}
        self.sentinel_port = sentinel_port
        self.url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel_port}/{NAME}/0"
        self._down_after = down_after
        self._sentinel: subprocess.Popen[bytes] | None = None

    @property
    def primary(self) -> int:
        """The port of the server that Sentinel names."""
        return int(self._told("get-master-addr-by-name")[1])

    def start(self) -> None:
        """Returns once the Sentinel knows the replicas, and they have what the primary has."""
        first, *others = self.nodes
        self.nodes[first].start()
        for port in others:
            self.nodes[port].start("--replicaof", f"127.0.0.1 {first}")
        config = self.directory / "sentinel.conf"
        lines = [
            f"port {self.sentinel_port}", "bind 127.0.0.1", f"dir {self.directory}", "loglevel notice",
            f"logfile {self.directory / 'sentinel.log'}", f"sentinel monitor {NAME} 127.0.0.1 {first} 1",
            f"sentinel down-after-milliseconds {NAME} {int(1000 * self._down_after)}",
            f"sentinel failover-timeout {NAME} 5000",
        ]  # fmt: skip
        config.write_text("\n".join(lines) + "\n")
        command = [str(find_server()), str(config), "--sentinel"]
        self._sentinel = in_lasting_thread(lambda: _launch(command))
        _until(lambda: self._told("set", "failover-timeout", "5000") is not None, "Sentinel answers")
        self._ask("debug", "info-period", "500", "ping-period", "200")  # new replicas are seen in 10 s otherwise
        self.wait_until_safe()

    def stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.terminate()
            self._sentinel.wait(END_SECONDS)
        for node in self.nodes.values():
            node.stop()

    def destroy_primary(self) -> int:
        """Kills the primary and removes its directory; returns its port. Nothing waits for what follows."""
        port = self.primary
        self.nodes[port].kill()
        shutil.rmtree(self.nodes[port].directory)
        return port

    def cut_off_replicas(self) -> None:
        """Lets no replica connect to this primary any more: what it is told from now on is on its own disk alone."""
        with _client(self.primary) as client:
            client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def wait_until_promoted(self, lost: int) -> None:
        """Returns once another server than the lost one is the primary and takes writes."""
        _until(lambda: self.primary != lost and self._role(self.primary) == "master", "a replica is promoted")

    def join_fresh(self, port: int) -> None:
        """Starts an empty server on the port of a lost one, as a replica.

        Only after another one was promoted: an empty primary that comes back early would be copied by its replicas. And
        with priority 0 until it has everything: a Sentinel would promote an empty replica if it knows no other.
        """
        self.nodes[port].directory.mkdir()
        self.nodes[port].start("--replicaof", f"127.0.0.1 {self.primary}", "--replica-priority", "0")
        with _client(port) as client:
            _until(lambda: client.info("replication")["master_link_status"] == "up", "the new replica has a copy")
            client.config_set("replica-priority", 100)

    def wait_until_safe(self) -> None:
        """Returns once all replicas have what the primary has, and the Sentinel would promote any of them."""
        _until(self._is_safe, "replicas are known and have everything")

    def _is_safe(self) -> bool:
        found = self._told("replicas")
        rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in found]
        good = [row for row in rows if row["flags"] == "slave" and row["master-link-status"] == "ok"]
        good = [row for row in good if row["slave-priority"] != "0"]
        if len(good) < len(self.nodes) - 1 or any(int(row["master-port"]) != self.primary for row in good):
            return False
        with _client(self.primary) as client:
            client.set("th:confirmed", 1)
            _, reached = client.waitaof(0, len(self.nodes) - 1, 1000)
        return bool(reached >= len(self.nodes) - 1)

    def _role(self, port: int) -> str:
        with _client(port) as client:
            return str(client.info("replication")["role"])

    def _told(self, what: str, *arguments: str) -> Any:
        return self._ask(what, NAME, *arguments)

    def _ask(self, *words: str) -> Any:
        with redis.Redis(
            host="127.0.0.1", port=self.sentinel_port, decode_responses=True, socket_timeout=5, protocol=2
        ) as client:
            connection = client.connection_pool.get_connection()
            connection.send_command("SENTINEL", *words)  # redis-py parses the answers in its own way
            return connection.read_response()


def _client(port: int) -> redis.Redis:
    return connect(f"redis://127.0.0.1:{port}/0")


def _port(node: Valkey) -> int:
    assert node.tcp_url is not None
    return int(node.tcp_url.rpartition(":")[2].partition("/")[0])


def _launch(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=without_secrets(),
        start_new_session=True,
        preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509
    )


def _until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        with suppress(redis.RedisError, OSError, KeyError):
            if holds():
                return
        if time.monotonic() > until:
            raise AssertionError(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.05)


@contextmanager
def replicated(directory: Path, *, replicas: int = 1, down_after: float = 1.0) -> Iterator[Replicated]:
    """A primary and replicas, each as durable as ours must be. `down_after`: seconds until a silent server is down."""
    directory.mkdir(parents=True, exist_ok=True)
    now = ("--repl-diskless-sync-delay", "0")  # a replica's first copy begins at once, and not after 5 s
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(valkey_server(directory / f"node-{number}", *now, port=0, start=False))
            for number in range(replicas + 1)
        ]
        place = Replicated(directory.absolute(), nodes, free_port(), down_after)
        stack.callback(place.stop)
        place.start()
        yield place
