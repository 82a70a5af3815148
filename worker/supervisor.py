"""Runs scheduler and workers as processes: starts, watches, restarts and ends them within 30 s.

One queue per RQ worker: a worker on several uses BLPOP, and one that is killed between pop and start loses the
step for ever (rq#2079); on one queue RQ moves it, and the scheduler does the rest.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from types import FrameType

from tunehook import telemetry
from tunehook.child_process import end_with_parent
from tunehook.context import open_context
from tunehook.dataset.tokens import preload
from tunehook.model.member import Queue
from tunehook.security.tls import ssl_context
from tunehook.settings import Settings
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.store import Store
from worker import steps
from worker.rq_worker import work
from worker.scheduler import Scheduler
from worker.steps import STOP

log = logging.getLogger("tunehook.worker")

#: From SIGTERM: steps may finish; then work-horses are ended (RQ's cold shutdown); then everything.
PATIENCE_SECONDS = 26.0  # a create, the one call that costs money, is answered within 25 s or given up
END_SECONDS = 29.5
LAST_SECONDS = 2.5
_fork = multiprocessing.get_context("fork")


@dataclass
class Child:
    name: str
    target: Callable[[], None]
    process: BaseProcess | None = None
    last: bool = False  #: is told to end when the others have ended
    started: float = 0.0

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = _fork.Process(target=_child, args=(self.target, os.getpid()), name=self.name)
        self.process.start()


class Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping_since: float | None = None
        self._signalled_twice = False
        self.children = [Child("scheduler", lambda: run_scheduler(settings))]
        # An upstream has one poll at a time: none waits behind that of an upstream that does not answer.
        polls = max(1, len(settings.all_upstreams()))
        counts: dict[Queue, int] = {"steps": settings.workers, "deliver": settings.workers, "polls": polls, "bulk": 1}
        for queue, count in counts.items():
            for number in range(1, count + 1):
                self.children.append(Child(f"{queue}-{number}", _worker(settings, queue)))
        if send_spans := telemetry.start_handing_over(settings):
            self.children.append(Child("spans", send_spans, last=True))

    def run(self) -> int:
        asyncio.run(_warm(self._settings))
        # What was made so far stays, and what a step makes ends with it: no full collections, which copy the heap.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        for child in self.children:
            child.start()
        log.info("%d processes: the scheduler and %d workers", len(self.children), len(self.children) - 1)
        while self._alive(last=False) or not self._stopping_since:
            self._watch()
            time.sleep(0.1)
        for process in self._alive(last=True):
            process.terminate()
            process.join(LAST_SECONDS)
        self._signal(signal.SIGKILL)
        return 0

    def _alive(self, *, last: bool) -> list[BaseProcess]:
        processes = [child.process for child in self.children if child.last is last]
        return [process for process in processes if process and process.is_alive()]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            log.info("stopping: running steps may finish within %d s", PATIENCE_SECONDS)
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        processes = self._alive(last=False) + (self._alive(last=True) if number == signal.SIGKILL else [])
        for process in processes:
            if process.pid:
                os.kill(process.pid, number)

    def _watch(self) -> None:
        if self._stopping_since is not None:
            waited = time.monotonic() - self._stopping_since
            if waited > END_SECONDS:
                self._signal(signal.SIGKILL)
            elif waited > PATIENCE_SECONDS and not self._signalled_twice:
                self._signalled_twice = True
                self._signal(signal.SIGTERM)
            return
        for child in self.children:
            if child.process and not child.process.is_alive() and time.monotonic() - child.started > 0.5:
                log.warning("%s ended with exit code %s; restarting it", child.name, child.process.exitcode)
                child.process.join()
                child.start()


async def _warm(settings: Settings) -> None:
    """Does before the forks what every step would pay for: TLS context (21 ms a client), settings, late imports.

    openai imports more when its first client is made (50 of a poll's 65 ms), and names the platform with each
    client's first call, for which Python starts `uname`. Nothing is connected.
    """
    ssl_context()
    steps.loaded_settings()
    platform.platform()
    async with open_context(settings):
        pass


def _child(target: Callable[[], None], parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(STOP, signal.SIG_IGN)
    end_with_parent(parent)
    target()


def run_scheduler(settings: Settings) -> None:
    async def _run() -> None:
        async with Store.connect(settings.redis_url, replicas=settings.replicas) as store:
            scheduler = Scheduler(
                store,
                open_blocking(settings.redis_url),
                list(settings.all_upstreams()),
                settings.workers,
                poll_seconds=settings.poll_seconds,
            )
            await scheduler.run()

    asyncio.run(_run())


def _worker(settings: Settings, queue: Queue) -> Callable[[], None]:
    def _run() -> None:
        if queue == "bulk":  # estimates count tokens
            preload()
        work(queue, settings.redis_url)

    return _run
