"""RQ listens for commands in a thread, which must outlive a Redis that is slow to come back."""

import logging

import pytest
from redis.client import PubSubWorkerThread
from redis.exceptions import ResponseError, TimeoutError
from rq.serializers import JSONSerializer

from tests.fakes.valkey import Valkey
from tunehook.store.engine.addresses import open_blocking
from worker.rq_worker import StepWorker


def test_a_connect_that_times_out_ends_no_thread(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    with open_blocking(valkey.url) as connection:
        worker = StepWorker(["steps"], connection=connection, serializer=JSONSerializer)
        with connection.pubsub() as pubsub:
            thread = PubSubWorkerThread(pubsub, 1.0)
            with caplog.at_level(logging.WARNING):
                worker._pubsub_exception_handler(TimeoutError("Timeout connecting to server"), pubsub, thread)
            assert caplog.text == ""  # the scheduler says it
            with pytest.raises(ResponseError):  # RQ's own handler raises what is being handled
                _handled(worker, ResponseError("unknown command"), pubsub, thread)


def _handled(worker: StepWorker, error: Exception, pubsub: object, thread: PubSubWorkerThread) -> None:
    try:
        raise error
    except ResponseError as caught:
        worker._pubsub_exception_handler(caught, pubsub, thread)  # type: ignore[arg-type]
