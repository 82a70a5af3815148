"""Programs of ours as forks of one process that has imported them: 0.1 s of CPU for a start instead of 1.3 s.

`make test` starts some hundred programs, and three quarters of a start were imports. How a program starts from
nothing is for the tests of the starts to see: they take `Program` without `forked`.
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.valkey import in_lasting_thread

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.fakes.preloaded"])


class Forked:
    """`python -m …` with what subprocess.Popen has of a process. Its output is added to a file."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], directory: Path, output: Path) -> None:
        self.args = arguments
        self._process = _forks.Process(target=_run, args=(arguments, dict(environment), directory, output))
        in_lasting_thread(self._process.start)  # the first start starts the process that forks as well
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Returns its exit code. Raises TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()


def _run(arguments: list[str], environment: dict[str, str], directory: Path, output: Path) -> None:
    """Makes of the fork what a process of its own would be, and runs the module."""
    end_with_parent()
    os.setsid()
    sink = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(sink, stream)
    os.close(sink)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments[1:]
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def end_with_parent() -> None:
    """Lets the kernel end this process when the thread that started it has ended. On Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
