"""Checks and counts datasets beside the event loop: in a child process (API) or a thread (step).

A check of 512 MB takes two seconds of CPU, counting its tokens seven, and a vocabulary takes 80 MiB. In the API's own
process all other clients would wait for that, so it has a child, which ends after an idle minute. A step of the worker
is a process of its own: it inherits the vocabulary that its worker has read, and needs no child.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakValueDictionary

from tunehook.child_process import without_secrets
from tunehook.dataset.__main__ import ALIVE, answer
from tunehook.errors import DatasetUnread

IDLE_SECONDS = 60.0
#: A child that is silent for so long is killed. It reports each half second; on a busy machine, less often.
PATIENCE_SECONDS = 120.0


class FairLock:
    """Fair lock: one holder at a time, one waiter per project."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, project: str) -> AsyncIterator[None]:
        own = self._own.get(project)
        if own is None:
            own = self._own[project] = asyncio.Lock()
        async with own, self._line:
            yield


class DatasetReader(Protocol):
    async def ask(self, question: dict[str, Any], project: str = "") -> dict[str, Any]:
        """Returns the answer (see __main__). Raises DatasetUnread."""

    async def close(self) -> None: ...


class DatasetThread:
    """Answers in a thread, for a step."""

    async def ask(self, question: dict[str, Any], project: str = "") -> dict[str, Any]:
        return _answer_or_raise(await asyncio.to_thread(answer, question, lambda: None))

    async def close(self) -> None:
        """Has nothing to end: the step's process ends with its thread."""


def _answer_or_raise(found: dict[str, Any]) -> dict[str, Any]:
    if "error" in found:
        raise DatasetUnread(why=found["error"])
    return found


class DatasetProcess:
    """Asks the child process one question at a time; waiting questions take turns by project.

    `nice`: the child's niceness. `patience`: seconds without a sign of life after which the child is killed; the next
    question starts another.
    """

    def __init__(self, nice: int = 0, patience: float = PATIENCE_SECONDS) -> None:
        self._nice = nice
        self.patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = FairLock()
        self._idle: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[dict[str, Any]]] = set()
        self._closed = False

    async def ask(self, question: dict[str, Any], project: str = "") -> dict[str, Any]:
        """Returns the answer (see __main__). Raises DatasetUnread.

        A cancelled caller's answer is still read, or the next question would get it.
        """
        task = asyncio.create_task(self._in_turn(question, project))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return _answer_or_raise(await asyncio.shield(task))

    async def _in_turn(self, question: dict[str, Any], project: str) -> dict[str, Any]:
        async with self._lock.turn(project):
            if self._idle is not None:
                self._idle.cancel()
            found = await asyncio.to_thread(self._ask, json.dumps(question).encode() + b"\n")
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._rest)
        return found

    def _ask(self, question: bytes) -> dict[str, Any]:
        if self._process is not None and self._process.poll() is not None:
            _let_go(self._process)
            self._process = None
        if self._closed:
            return {"error": "the service is stopping"}
        if self._process is None:
            command = [sys.executable, "-m", "tunehook.dataset", str(self._nice)]
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=without_secrets()
            )
        line = self._line(self._process, question)
        if not line.endswith(b"\n"):
            return {"error": f"the process that does it ended with {self._process.wait()}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def _line(self, process: subprocess.Popen[bytes], question: bytes) -> bytes:
        """Returns the answer's line; half of one, or nothing, when the child has ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(question)
            process.stdin.flush()
            while True:
                watch = threading.Timer(self.patience, process.kill)
                watch.start()
                try:
                    line = process.stdout.readline()
                finally:
                    watch.cancel()
                if line != ALIVE:
                    return line
        except OSError:
            return b""

    def _rest(self) -> None:
        """Closes the stdin of an idle child, which ends it; the next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            asyncio.get_running_loop().run_in_executor(None, _let_go, process)

    async def close(self) -> None:
        """Ends the child. Questions that are still open get an error."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        await asyncio.gather(*self._asking, return_exceptions=True)
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # one that was just being started
            await asyncio.to_thread(_let_go, process)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    with process:  # closes its pipes and waits for its end
        pass
