"""Runs one server for as long as the process that started us lives.

Started by `cli.embedded` as a script of its own, with nothing but the standard library:
`python -I -S embedded_guard.py (once|always) COMMAND …`. Its stdin is a pipe that nobody writes to. When that
pipe ends, the starter has stopped or died, by SIGKILL too, and the server is told to end. When we are
killed ourselves, Linux tells the server (PR_SET_PDEATHSIG fires when the *thread* that forked ends: there is
one here). Elsewhere the next start finds the orphan.

With `always`, a server that dies on its own is started again, until it has died young three times in a row.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
ENDS_WITHIN_SECONDS = 10  # an AOF of any size is flushed by then: `always` leaves at most one write pending
YOUNG_SECONDS = 1.0
YOUNG_DEATHS = 3  # in a row: it would die again, of a broken file or a full disk


def die_with_the_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command: list[str], held: list[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=held,
        preexec_fn=die_with_the_guard,  # noqa: PLW1509 - one thread here
    )


def end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(ENDS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(mode: str, held: str, command: list[str]) -> int:
    """Returns the server's exit code, or 0 when the starter went away first.

    `held` names inherited descriptors, comma-separated, that the server must hold too: its flock.
    """
    descriptors = [int(number) for number in held.split(",") if number]
    news, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake)

    server, started, young_deaths = start(command, descriptors), time.monotonic(), 0
    while True:
        readable, _, _ = select.select([sys.stdin, news], [], [])
        told = os.read(news, 64) if news in readable else b""
        if sys.stdin in readable or set(told) - {signal.SIGCHLD}:
            end(server)
            return 0
        if server.poll() is None:
            continue
        young_deaths = young_deaths + 1 if time.monotonic() - started < YOUNG_SECONDS else 0
        if mode != "always" or young_deaths == YOUNG_DEATHS:
            return abs(server.returncode) or 1
        server, started = start(command, descriptors), time.monotonic()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
