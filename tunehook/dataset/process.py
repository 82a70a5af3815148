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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import IO, Any, Protocol
from weakref import WeakValueDictionary

from tunehook.child_process import without_secrets
from tunehook.dataset.__main__ import ALIVE, BROKEN_OFF, LENGTH_BYTES, answer
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


#: The answer to a question about a file, and the digests of its examples, if it was checked.
Answer = tuple[dict[str, Any], bytes]


class DatasetReader(Protocol):
    async def ask(self, question: dict[str, Any], chunks: AsyncIterator[bytes], project: str = "") -> Answer:
        """Returns the answer about a file's bytes (see __main__).

        Raises DatasetUnread, also if the file is not there, and what `chunks` raises."""

    async def close(self) -> None: ...


class DatasetThread:
    """Answers in a thread, for a step."""

    async def ask(self, question: dict[str, Any], chunks: AsyncIterator[bytes], project: str = "") -> Answer:
        pieces = _pulled(chunks, asyncio.get_running_loop())
        with _missing():
            return await asyncio.to_thread(answer, question, pieces, lambda: None)

    async def close(self) -> None:
        """Has nothing to end: the step's process ends with its thread."""


def _pulled(chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Yields the chunks to a thread, while the loop gets them."""

    async def _next() -> bytes:
        return await anext(chunks, b"")

    while chunk := asyncio.run_coroutine_threadsafe(_next(), loop).result():
        yield chunk


@contextmanager
def _missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetUnread(why="its content is not here") from error


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
        self._asking: set[asyncio.Task[Answer]] = set()
        self._closed = False

    async def ask(self, question: dict[str, Any], chunks: AsyncIterator[bytes], project: str = "") -> Answer:
        """Returns the answer (see __main__). Raises DatasetUnread, and what `chunks` raises.

        A cancelled caller's answer is still read, or the next question would get it.
        """
        task = asyncio.create_task(self._in_turn(question, chunks, project))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        with _missing():
            return await asyncio.shield(task)

    async def _in_turn(self, question: dict[str, Any], chunks: AsyncIterator[bytes], project: str) -> Answer:
        async with self._lock.turn(project):
            if self._idle is not None:
                self._idle.cancel()
            pieces = _pulled(chunks, asyncio.get_running_loop())
            try:
                return await asyncio.to_thread(self._ask, json.dumps(question).encode() + b"\n", pieces)
            finally:
                self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._rest)

    def _ask(self, question: bytes, pieces: Iterator[bytes]) -> Answer:
        if self._process is not None and self._process.poll() is not None:
            _let_go(self._process)
            self._process = None
        if self._closed:
            raise DatasetUnread(why="the service is stopping")
        if self._process is None:
            command = [sys.executable, "-m", "tunehook.dataset", str(self._nice)]
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=without_secrets()
            )
        process = self._process
        try:
            self._tell(process, question, pieces)
            line = self._line(process)
            found: dict[str, Any] = json.loads(line)
            digests = self._watched(process, lambda out: out.read(found["attached"]))
        except (BrokenPipeError, ValueError) as error:  # half an answer, or none
            process.kill()
            why = f"the process that does it ended with {process.wait()}"
            raise DatasetUnread(why=why) from error
        return found, digests

    def _tell(self, process: subprocess.Popen[bytes], question: bytes, pieces: Iterator[bytes]) -> None:
        """Writes the question and the file. A file that cannot be read to its end is broken off."""
        self._write(process, question)
        try:
            for piece in pieces:
                self._write(process, len(piece).to_bytes(LENGTH_BYTES, "big"), piece)
        except BrokenPipeError:
            raise
        except BaseException:
            self._write(process, BROKEN_OFF.to_bytes(LENGTH_BYTES, "big"))
            raise
        self._write(process, bytes(LENGTH_BYTES))

    def _write(self, process: subprocess.Popen[bytes], *blocks: bytes) -> None:
        assert process.stdin is not None
        with self._patience(process):
            for block in blocks:
                process.stdin.write(block)
            process.stdin.flush()

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Returns the answer's line; half of one, or nothing, when the child has ended."""
        while True:
            line = self._watched(process, lambda out: out.readline())
            if line != ALIVE:
                return line

    def _watched(self, process: subprocess.Popen[bytes], read: Callable[[IO[bytes]], bytes]) -> bytes:
        assert process.stdout is not None
        with self._patience(process):
            return read(process.stdout)

    @contextmanager
    def _patience(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Kills a child that hangs, which ends the read or the write."""
        watch = threading.Timer(self.patience, process.kill)
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

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
    # Closes its pipes and waits for its end. One that was killed has not read all that was written to it.
    with suppress(BrokenPipeError), process:
        pass
