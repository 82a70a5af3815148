"""Programs of ours as forks of one process that has imported them: 0.1 s of CPU for a start instead of 1.3 s.

`make test` starts some hundred programs, and three quarters of a start were imports. How a program starts from
nothing is for the tests of the starts and of the commands to see: they take `Program` without `forked`, or subprocess.
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cli.main import main
from tests.fakes.valkey import in_lasting_thread

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.fakes.preloaded"])


class Forked:
    """A program with what subprocess.Popen has of a process.

    `arguments`: as they stand behind `python -m`, or `tunehook` and the words of a command. Its output is added to
    a file; what it prints as errors too, unless `errors` is another.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        directory: Path,
        output: Path,
        errors: Path | None = None,
    ) -> None:
        self.args = arguments
        printed = (output, errors or output)
        self._process = _forks.Process(target=_run, args=(arguments, dict(environment), directory, printed))
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

    def kill(self) -> None:
        self._process.kill()


def command(*words: str, environment: Mapping[str, str], seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs a `tunehook` command, which has no terminal, to its end. Raises TimeoutExpired."""
    with tempfile.TemporaryDirectory() as name:
        output, errors = Path(name) / "output", Path(name) / "errors"
        process = Forked(["tunehook", *words], environment, Path.cwd(), output, errors)
        try:
            status = process.wait(seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, status, output.read_text("utf-8"), errors.read_text("utf-8"))


def _run(arguments: list[str], environment: dict[str, str], directory: Path, printed: tuple[Path, Path]) -> None:
    """Makes of the fork what a process of its own would be, and runs the program in it."""
    end_with_parent()
    os.setsid()
    for stream, path in zip((1, 2), printed, strict=True):
        sink = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(sink, stream)
        os.close(sink)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    program, *words = arguments
    if program == "tunehook":
        sys.exit(main(words))
    sys.argv[1:] = words
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def end_with_parent() -> None:
    """Lets the kernel end this process when the thread that started it has ended. On Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
