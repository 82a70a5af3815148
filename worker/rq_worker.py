"""RQ's forking worker, made to outlive its Redis.

RQ ends a worker, prints a traceback and counts a failed step when Redis goes away in the middle of one. None of that
is needed: a step that was not finished is due again. So while Redis is away or full, a worker waits and says nothing;
the scheduler has one line for when it goes and one for when it is back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ClassVar, ParamSpec

from redis.client import PubSub, PubSubWorkerThread
from redis.exceptions import RedisError
from rq import Queue as RQQueue
from rq import Worker
from rq.exceptions import InvalidJobOperation
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from tunehook.model.member import Queue
from tunehook.store.engine.addresses import open_blocking
from tunehook.store.engine.client import is_in_trouble
from worker.steps import STOP, is_step

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
P = ParamSpec("P")
#: Exit status of a work-horse that could not tell Redis how its step ended.
UNTOLD = os.EX_TEMPFAIL


def work(queue: Queue, url: str) -> None:
    """Works until SIGTERM."""
    logging.getLogger("rq.worker").addFilter(_is_not_about_redis)
    while True:
        with suppress(RedisError):  # away at the start
            worker = StepWorker(
                [queue],
                connection=open_blocking(url),
                serializer=JSONSerializer,
                worker_ttl=30,
                job_monitoring_interval=10,
                maintenance_interval=60,
                log_job_description=False,
            )
            worker.work(logging_level="WARNING")
            if worker.is_told_to_stop:
                return
        time.sleep(AGAIN_SECONDS)


def _is_not_about_redis(record: logging.LogRecord) -> bool:
    """A filter of RQ's log."""
    cause = record.exc_info[1] if record.exc_info else None
    return not is_in_trouble(cause) and "Redis" not in str(record.msg)


def _best_effort(method: Callable[P, None]) -> Callable[P, None]:
    """Returns the method without the errors of a Redis that does not take what it tells."""

    @wraps(method)
    def _call(*args: P.args, **options: P.kwargs) -> None:
        with suppress(RedisError):
            method(*args, **options)

    return _call


class StepWorker(Worker):
    """Tuned to recover soon. Does without what it tells Redis about itself while Redis does not take it."""

    _newer: ClassVar[set[str]] = set()  #: steps of a newer version that the log has
    max_connection_wait_time = 2.0  # RQ backs off to 60 s: so long would it not notice that Redis is back

    @property
    def is_told_to_stop(self) -> bool:
        return self._shutdown_requested_date is not None

    # ---- in the worker

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, RQQueue] | None:
        """Waits for a step; RQ itself waits for a Redis that is away, but not for one that is full."""
        while True:
            try:
                return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
            except RedisError as error:
                if not is_in_trouble(error):
                    raise
                time.sleep(AGAIN_SECONDS)

    def execute_job(self, job: Job, queue: RQQueue) -> None:
        """Runs a step. Removes RQ's note of one whose end could not be told: it is due again, not failed.

        A step of a newer version is left to its workers: it is due again in 20 s.
        """
        self._untold = False
        if not is_step(str(job.func_name)):
            if job.func_name not in self._newer:
                log.warning("%s is left to a newer version: this one does not know it.", job.func_name)
                self._newer.add(str(job.func_name))
            _best_effort(job.delete)(remove_from_queue=False)
            return
        try:
            super().execute_job(job, queue)
        except RedisError:
            self._untold = True
        while self._untold and not self.is_told_to_stop:
            try:
                with suppress(InvalidJobOperation):  # it was told after all
                    job.delete(remove_from_queue=False)
                self.executions.clear()
                self._untold = False
            except RedisError:
                time.sleep(AGAIN_SECONDS)

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        pid, status, usage = super().wait_for_horse()
        if status is not None and os.WIFEXITED(status) and os.WEXITSTATUS(status) == UNTOLD:
            self._untold, status = True, 0
        return pid, status, usage

    heartbeat = _best_effort(Worker.heartbeat)
    maintain_heartbeats = _best_effort(Worker.maintain_heartbeats)
    set_state = _best_effort(Worker.set_state)
    set_shutdown_requested_date = _best_effort(Worker.set_shutdown_requested_date)
    run_maintenance_tasks = _best_effort(Worker.run_maintenance_tasks)
    teardown = _best_effort(Worker.teardown)

    def check_for_suspension(self, burst: bool) -> None:
        """Never is."""

    def _pubsub_exception_handler(self, exc: Exception, pubsub: PubSub, pubsub_thread: PubSubWorkerThread) -> None:
        """Retries after a connect that timed out too: RQ would end its thread."""
        if not is_in_trouble(exc):
            super()._pubsub_exception_handler(exc, pubsub, pubsub_thread)
        time.sleep(AGAIN_SECONDS)

    def handle_warm_shutdown_request(self) -> None:
        """Tells a delivery step, which may run for 45 s, to begin no more deliveries."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, STOP)

    # ---- in the work-horse

    def perform_job(self, job: Job, queue: RQQueue, execution: Execution) -> bool:
        try:
            return super().perform_job(job, queue, execution)
        except RedisError as error:
            if not is_in_trouble(error):
                raise
            os._exit(UNTOLD)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Raises what Redis said, so that the step has not failed."""
        if is_in_trouble(exc_info[1]):
            raise exc_info[1]
        super().handle_exception(job, *exc_info)
