"""The embedded Valkey as a process: a server that is slow at its start is waited for."""

import os
import signal
from pathlib import Path
from threading import Timer

from cli.valkey_process import wait_until_ready
from tests.fakes.valkey import valkey_server


def test_a_server_that_takes_a_connection_and_does_not_answer_yet(tmp_path: Path) -> None:
    """A disk that is slow to make the append-only file stops the server for seconds."""
    with valkey_server(tmp_path) as server:
        os.kill(server.pid, signal.SIGSTOP)
        Timer(0.5, lambda: os.kill(server.pid, signal.SIGCONT)).start()
        assert server.process is not None
        wait_until_ready(f"{server.url}&socket_timeout=0.1", server.process, tmp_path / "valkey.log")
