"""RQ can run every step that the scheduler enqueues; a broken import would show there as `Invalid attribute name`."""

import inspect
import re
from pathlib import Path

import pytest
from rq.utils import import_attribute

import worker.scheduler
from tunehook.jobs.copy_transfer import STEP_SECONDS
from tunehook.model.member import KINDS, QUEUES, queue_of
from tunehook.upstreams.client import PART_SECONDS
from tunehook.upstreams.plain_http import CALL_SECONDS, FILE_SECONDS
from worker.steps import TIMEOUTS, step_for

#: Ids of members, for the kinds whose ids have a form.
IDS = {"copy": "openai:" + "0" * 64, "sweep": "parked"}
ENQUEUED = {kind: queue for kind, queue in KINDS.items() if queue != "deliver"}


@pytest.mark.parametrize("kind", ENQUEUED)
def test_every_kind_that_can_be_due_has_a_step_that_resolves(kind: str) -> None:
    path, arguments = step_for(f"{kind}:{IDS.get(kind, 'some-id')}")
    step = import_attribute(path)
    assert inspect.iscoroutinefunction(step)
    inspect.signature(step).bind(*arguments)
    assert "".join(arguments) == IDS.get(kind, "some-id").replace(":", "")


def test_steps_that_the_scheduler_names_resolve() -> None:
    """Deliveries are not enqueued one by one: a step takes those that are due."""
    named = set(re.findall(r'"(worker\.steps\.\w+)"', Path(worker.scheduler.__file__).read_text("utf-8")))
    assert "worker.steps.deliver" in named
    for path in named:
        step = import_attribute(path)
        assert inspect.iscoroutinefunction(step)
        inspect.signature(step).bind()


def test_an_unknown_kind_is_no_step() -> None:
    with pytest.raises(ValueError, match="no step is known"):
        step_for("unheard:of")


def test_every_queue_has_a_timeout_and_every_kind_a_queue() -> None:
    assert set(TIMEOUTS) == set(QUEUES)
    assert {queue_of(f"{kind}:x") for kind in KINDS} <= set(QUEUES)


def test_an_upload_step_outlives_the_calls_in_it() -> None:
    """The last part may begin when the step's time is nearly over; then the parts are joined."""
    assert TIMEOUTS["bulk"] > STEP_SECONDS + PART_SECONDS + FILE_SECONDS + CALL_SECONDS
