"""What the clock hands over, RQ can run: a broken import would surface there as `Invalid attribute name`."""

import inspect
import re
from pathlib import Path

import pytest
from rq.utils import import_attribute

import worker.scheduler
from tunehook.jobs.copy_transfer import STEP_SECONDS
from tunehook.model.member import KINDS, QUEUES, queue_of
from tunehook.upstreams.client import CALL_SECONDS, FILE_SECONDS, PART_SECONDS
from worker.steps import TIMEOUTS, step_for

#: The ids that a member of each kind may have, where one word would not do.
IDS = {"copy": "openai:" + "0" * 64, "sweep": "parked"}
ENQUEUED = {kind: queue for kind, queue in KINDS.items() if queue != "deliver"}


@pytest.mark.parametrize("kind", ENQUEUED)
def test_every_kind_that_can_be_due_has_a_step_that_resolves(kind: str) -> None:
    path, arguments = step_for(f"{kind}:{IDS.get(kind, 'some-id')}")
    step = import_attribute(path)
    assert inspect.iscoroutinefunction(step)
    inspect.signature(step).bind(*arguments)
    assert "".join(arguments) == IDS.get(kind, "some-id").replace(":", "")


def test_steps_that_the_clock_names_itself_resolve() -> None:
    """Deliveries are not handed over one by one: a step takes what is due."""
    named = set(re.findall(r'"(worker\.steps\.\w+)"', Path(worker.scheduler.__file__).read_text("utf-8")))
    assert "worker.steps.deliver" in named
    for path in named:
        step = import_attribute(path)
        assert inspect.iscoroutinefunction(step)
        inspect.signature(step).bind()


def test_what_nobody_knows_is_no_step() -> None:
    with pytest.raises(ValueError, match="no step is known"):
        step_for("unheard:of")


def test_every_queue_has_a_timeout_and_every_kind_a_queue() -> None:
    assert set(TIMEOUTS) == set(QUEUES)
    assert {queue_of(f"{kind}:x") for kind in KINDS} <= set(QUEUES)


def test_an_upload_step_outlives_the_calls_in_it() -> None:
    """The last part may begin when its time is nearly over; then the parts are joined, and an answer is looked for."""
    assert TIMEOUTS["bulk"] > STEP_SECONDS + PART_SECONDS + FILE_SECONDS + CALL_SECONDS
