"""A Valkey server of our own, for one machine: started and stopped with `tunehook up`.

Two servers start on one directory without complaint, and the append-only file would not survive it. So two
flocks protect `<data_dir>/valkey`: `owner.lock` is ours, and a second start is refused; `server.lock` is
inherited by the server, so its holder is a live server on these files, even if its starter has died.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import redis

from cli import valkey_process
from cli.valkey_process import connect, end, launch, socket_url, wait_until_ready
from tunehook.errors import TunehookError

SOCKET_PATH_BYTES = 100  # sun_path holds 108 bytes on Linux and 104 on macOS, with its final zero
ORPHAN_SECONDS = 15.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "")


class DirectoryHeld(TunehookError):
    """{directory} is in use by {holder}. Stop it first, or choose another TUNEHOOK_DATA_DIR."""


def start_embedded(data_dir: Path, *, find_server: Callable[[], Path] = valkey_process.find_server) -> EmbeddedValkey:
    """Starts Valkey on `<data_dir>/valkey`; returns once it answers. A context manager, or `.stop()` it.

    Raises NoServerBinary, DirectoryHeld, ServerDidNotStart.
    """
    return EmbeddedValkey(data_dir.absolute() / "valkey", find_server())


class EmbeddedValkey:
    """A running server. `url` is for REDIS_URL; after `stop()` only its files are left."""

    url: str

    def __init__(self, directory: Path, binary: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        self._owner: int | None = None
        self._private: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._binary = binary
        try:
            self._owner = _own(directory)
            self._socket = self._choose_socket()
            self.url = socket_url(self._socket)
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        server_lock = _replace_orphan(self._directory)
        try:
            _write(server_lock, {"socket": str(self._socket)})
            self._server = launch(self._binary, self._directory, self._socket, *DURABLE, held=[server_lock])
        finally:
            os.close(server_lock)  # the server holds its own copy
        wait_until_ready(self.url, self._server, self._directory / "valkey.log")

    def _choose_socket(self) -> Path:
        beside_the_files = self._directory / "valkey.sock"
        if len(os.fsencode(beside_the_files)) <= SOCKET_PATH_BYTES:
            return beside_the_files
        self._private = Path(tempfile.mkdtemp(prefix="tunehook-", dir="/tmp"))  # mode 0700
        return self._private / "valkey.sock"

    def check(self) -> None:
        """Starts the server again if it has ended. Raises ServerDidNotStart if it does not come back."""
        if self._server is not None and self._server.poll() is not None:
            self._start()

    def stop(self) -> None:
        """Ends the server with its writes on disk and releases the directory. May be called twice."""
        if self._server is not None:
            end(self._server)
            self._server = None
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)
            self._private = None
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()


def _own(directory: Path) -> int:
    lock = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _try_lock(lock):
        holder = _read(lock).get("pid", "unknown")
        os.close(lock)
        raise DirectoryHeld(directory=directory, holder=f"process {holder} (another `tunehook up`)")
    _write(lock, {"pid": os.getpid()})
    return lock


def _replace_orphan(directory: Path) -> int:
    """Takes the server's lock. We own the directory, so a server that still holds it is an orphan.

    It is ended through the socket that it was given: a process id could be another program's by now.
    """
    lock = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    limit = time.monotonic() + ORPHAN_SECONDS
    while not _try_lock(lock):
        _ask_to_end(_read(lock).get("socket"))
        if time.monotonic() > limit:
            os.close(lock)
            raise DirectoryHeld(directory=directory, holder="a Valkey server of an earlier run, which does not end")
        time.sleep(0.05)
    return lock


def _ask_to_end(socket: object) -> None:
    if not isinstance(socket, str):
        return
    try:
        with connect(socket_url(Path(socket))) as client:
            client.shutdown()
    except redis.RedisError:
        pass  # ending already, or not answering: the caller's deadline decides


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(lock: int, what: dict[str, object]) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(what).encode(), 0)


def _read(lock: int) -> dict[str, object]:
    try:
        what = json.loads(os.pread(lock, 4096, 0))
    except ValueError:  # written by one that died before it had written
        return {}
    return what if isinstance(what, dict) else {}
