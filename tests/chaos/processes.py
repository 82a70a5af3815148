"""Who is who among the processes, read from /proc."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def parent(pid: int) -> int:
    """0 when there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def of_sessions(leaders: set[int]) -> list[int]:
    """All that these have ever started: a work-horse stays in the session when its worker is gone."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) in leaders:
                found.append(int(entry.name))
    return found


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Nobody, where it is not known who (0 would be all of us), or init has taken the place of a parent."""
    if pid <= 1:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def caller(port: int, called: int, among: list[int]) -> int | None:
    """The process whose end of a TCP connection on this machine goes from `port` to `called`.

    Both are asked for: Linux gives one local port to several connections, and an ended one's row stays for a minute.
    """
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = (f"{port:04X}", f"{called:04X}")
    inode = next((row[9] for row in rows if (row[1][-4:], row[2][-4:]) == ports and row[9] != "0"), None)
    for pid in among:
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if link.readlink().name == f"socket:[{inode}]":
                        return pid
    return None
