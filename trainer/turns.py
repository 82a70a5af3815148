"""Turns: who says which job trains next. RQ does, one worker a slot, or a Ray cluster (`ray_turns.py`).

What either forgets, the next sweep submits again: a job's folder is the truth.
"""

import os
from pathlib import Path
from typing import Literal, Protocol

from rq import Queue, Worker
from rq.serializers import JSONSerializer

from trainer import folders
from trainer.redis_url import answering, connect
from trainer.settings import Config
from trainer.work import WORKER, count_death, end_with_parent

QUEUE = "tunehook-trainer"
#: A worker says nothing to Redis while its job trains: a Redis that is away must not end the training.
_QUIET_SECONDS = 30 * 86400

#: "died": the process that was given the turn ended otherwise than by itself. "none": no such turn, or it is over.
State = Literal["waiting", "running", "died", "none"]


class Turns(Protocol):
    """The turns of jobs, from the API's side. Every call may raise OSError or redis.RedisError.

    `turn`: the name of one, "<job's id>-<number>". It is used once: RQ and Ray keep what they knew of it."""

    def submit(self, turn: str) -> None:
        """Asks for a turn. Once too often is harmless: the job's folder is locked, or has its end."""

    def state(self, turn: str) -> State: ...

    def stop(self, turn: str) -> None:
        """Ends the processes of a turn, which hang."""


def turns_of(config: Config) -> Turns:
    if not config.ray:
        return RqTurns(config.redis_url)
    from trainer.ray_turns import RayTurns  # noqa: PLC0415  (its HTTP client costs a tenth of the start)

    return RayTurns(config)


def give(turns: Turns, job: Path) -> None:
    """Submits the next turn of a job, unless one waits or runs. Counts one that died as a death of the job."""
    number = _number(job)
    state = turns.state(f"{job.name}-{number}") if number else "none"
    if state == "died":
        count_death(job, f"turn {job.name}-{number}")
    if state in {"died", "none"} and not (job / "result.json").exists():
        folders.write(job / "turns", str(number + 1))  # first: a name is not used twice
        turns.submit(f"{job.name}-{number + 1}")


def stop(turns: Turns, job: Path) -> None:
    """Stops the last turn of a job."""
    if number := _number(job):
        turns.stop(f"{job.name}-{number}")


def _number(job: Path) -> int:
    """Returns the number of a job's last turn, 0 before the first."""
    try:
        return int((job / "turns").read_text())
    except FileNotFoundError:
        return 0


class RqTurns:
    """The queue in Redis."""

    def __init__(self, url: str) -> None:
        redis = connect(url, socket_connect_timeout=5, socket_timeout=5)
        self._queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)

    def submit(self, turn: str) -> None:
        job_id = turn.rpartition("-")[0]
        self._queue.enqueue("trainer.work.train", job_id, job_id=turn, job_timeout=-1, result_ttl=0, failure_ttl=3600)

    def state(self, turn: str) -> State:
        return "none" if self._queue.get_job_position(turn) is None else "waiting"

    def stop(self, turn: str) -> None:
        """Does nothing: the operator ends a training process that hangs, on this machine."""


def work(config: Config) -> None:
    """Runs the worker of one slot until it is ended."""
    end_with_parent()
    os.environ[WORKER] = str(os.getpid())
    worker = Worker(
        [QUEUE],
        connection=answering(config.redis_url),
        serializer=JSONSerializer,
        worker_ttl=_QUIET_SECONDS,
        job_monitoring_interval=_QUIET_SECONDS,
        log_job_description=False,
    )
    worker.work(logging_level="WARNING")
