"""Turns: RQ says which job trains next, one worker a slot. What RQ forgets, the next sweep enqueues again."""

import os
import uuid

from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from trainer.settings import Config
from trainer.work import WORKER, end_with_parent

QUEUE = "tunehook-trainer"
_ID = len("ftjob-") + 24
#: A worker says nothing to Redis while its job trains: a Redis that is away must not end the training.
_QUIET_SECONDS = 30 * 86400


class Turns:
    """The queue, from the API's side. Every call may raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        redis = Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
        self._queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)

    def queued(self) -> set[str]:
        """Returns the ids of jobs that wait for a worker."""
        return {name[:_ID] for name in self._queue.get_job_ids()}

    def enqueue(self, job_id: str) -> None:
        """Adds a job at the end. Once too often is harmless: its folder is locked, or has its end."""
        name = f"{job_id}-{uuid.uuid4().hex[:8]}"  # RQ keeps what it knew of a name
        self._queue.enqueue("trainer.work.train", job_id, job_id=name, job_timeout=-1, result_ttl=0, failure_ttl=3600)


def work(config: Config) -> None:
    """Runs the worker of one slot until it is ended."""
    end_with_parent()
    os.environ[WORKER] = str(os.getpid())
    worker = Worker(
        [QUEUE],
        connection=Redis.from_url(config.redis_url),
        serializer=JSONSerializer,
        worker_ttl=_QUIET_SECONDS,
        job_monitoring_interval=_QUIET_SECONDS,
        log_job_description=False,
    )
    worker.work(logging_level="WARNING")
