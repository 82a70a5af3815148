"""The embedded Valkey: real processes, real signals."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from cli.embedded import DirectoryHeld, start_embedded
from cli.valkey_process import NoServerBinary, ServerDidNotStart, connect, find_server

#: What the system can do is looked up when `tunehook.child_process` is imported.
STARTER = """
import ctypes, os, signal, sys
from pathlib import Path
here, sys.platform = sys.platform, sys.argv[2]
import tunehook.child_process
sys.platform = here
from cli.embedded import start_embedded
with start_embedded(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def process_id(url: str) -> int:
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip() not in {"", "Z"} and not state.stdout.startswith("Z")


def wait_until(what: Callable[[], bool], seconds: float = 180) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


def start_elsewhere(data_dir: Path, platform: str = sys.platform) -> tuple[subprocess.Popen[str], str]:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_dir), platform],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    url = starter.stdout.readline().strip()
    assert url, "the starter did not start a server"
    return starter, url


def kill(starter: subprocess.Popen[str]) -> None:
    with starter:
        starter.kill()


def test_it_is_durable_reachable_by_nobody_else_and_leaves_nothing_running(tmp_path: Path) -> None:
    began = time.monotonic()
    with start_embedded(tmp_path) as server:
        took = time.monotonic() - began
        pid = process_id(server.url)
        with connect(server.url) as client:
            said = {
                name: client.config_get(name)[name]
                for name in ("port", "appendonly", "appendfsync", "maxmemory-policy", "save")
            }
        socket = tmp_path / "valkey" / "valkey.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert said == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert not is_alive(pid)
    assert took < 30, "it takes a tenth of a second; `python -m benchmarks.up` measures it"


def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    for round_ in range(3):
        with start_embedded(tmp_path) as server, connect(server.url) as client:
            assert client.incr("rounds") == round_ + 1


def test_a_second_start_says_who_is_there(tmp_path: Path) -> None:
    with start_embedded(tmp_path) as server:
        with pytest.raises(DirectoryHeld, match=rf"{tmp_path}/valkey is in use by process {os.getpid()} "):
            start_embedded(tmp_path)
        with connect(server.url) as client:
            assert client.ping(), "the refused start must not have touched the first one"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_killed_starter_takes_its_server_along(tmp_path: Path) -> None:
    starter, url = start_elsewhere(tmp_path)
    pid = process_id(url)
    with connect(url) as client:
        client.set("acknowledged", "yes")

    kill(starter)

    wait_until(lambda: not is_alive(pid))
    with start_embedded(tmp_path) as server, connect(server.url) as client:
        assert client.get("acknowledged") == b"yes"


def test_an_orphan_is_ended_and_its_data_taken_over(tmp_path: Path) -> None:
    """Where the system does not tell a server of its starter's death, the server outlives it."""
    starter, url = start_elsewhere(tmp_path, "darwin")
    orphan = process_id(url)
    kill(starter)
    with connect(url) as client:
        client.set("written to", "the orphan")
    assert is_alive(orphan)
    with start_embedded(tmp_path) as server, connect(server.url) as client:
        assert client.get("written to") == b"the orphan"
        assert process_id(server.url) != orphan
    assert not is_alive(orphan)


def test_a_killed_server_comes_back_with_everything_it_had_acknowledged(tmp_path: Path) -> None:
    with start_embedded(tmp_path) as server:
        pid = process_id(server.url)
        with connect(server.url) as client:
            for number in range(500):
                client.rpush("written", number)
        os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            server.check()
            try:
                return process_id(server.url) != pid
            except redis.ConnectionError:
                return False

        wait_until(is_back)
        with connect(server.url) as client:
            assert client.lrange("written", 0, -1) == [str(number).encode() for number in range(500)]


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    deep = tmp_path / ("a long name with spaces, % and ünïcode " * 3)
    with start_embedded(deep) as server:
        with connect(server.url) as client:
            assert client.set("key", "value")
            socket = Path(client.connection_pool.connection_kwargs["path"])
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert not socket.is_relative_to(deep)
        assert (deep / "valkey" / "appendonlydir").is_dir()
    assert not socket.parent.exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with start_embedded(tmp_path) as server, connect(server.url) as client:
        client.set("key", "value")
    (tmp_path / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(ServerDidNotStart, match=r"ended at once.*(AOF|append|manifest)"):
        start_embedded(tmp_path)
    with pytest.raises(ServerDidNotStart):  # the failed start has let go of the directory
        start_embedded(tmp_path)


def test_without_a_binary_it_says_how_to_get_one(tmp_path: Path) -> None:
    def nothing_found() -> Path:
        raise NoServerBinary

    with pytest.raises(NoServerBinary, match="set REDIS_URL"):
        start_embedded(tmp_path, find_server=nothing_found)
    assert find_server().is_file()
