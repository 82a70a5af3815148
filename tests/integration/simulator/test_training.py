"""The pure life of a job: whatever it is and whenever one looks, it goes forward."""

import csv
import io
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import telling, training
from simulator.training import FOREVER, Failure, Mark, Spec
from wire.dataset import default_epochs

ORDER = ["created", "validating_files", "pending", "queued", "running", "succeeded", "failed", "cancelled"]
specs = st.builds(
    Spec,
    job_id=st.text("abcdef", min_size=1, max_size=8).map("ftjob-".__add__),
    model=st.just("gpt-4.1-mini-2025-04-14"),
    training_file=st.just("file-1"),
    validation_file=st.sampled_from([None, "file-2"]),
    method=st.sampled_from(["supervised", "dpo", "reinforcement"]),
    examples=st.integers(10, 30_000),
    tokens=st.integers(250, 2_500_000),
    asked=st.sampled_from([(), (("n_epochs", 12),), (("batch_size", 4), ("n_epochs", "auto"))]),
    azure=st.booleans(),
    refusal=st.sampled_from([None, Failure("invalid_training_file", "bad", "training_file")]),
    crash=st.sampled_from([None, Failure("server_error", "bad", None)]),
    stall=st.sampled_from([None, None, "validating_files", "queued", "running"]),
    queue_delay=st.sampled_from([0.0, 500.0]),
)
times = st.lists(st.floats(0, 60_000), min_size=2, max_size=12).map(sorted)


@given(specs, times)
@settings(max_examples=60, deadline=None)
def test_a_status_only_moves_forward_and_ends_stay(spec: Spec, moments: list[float]) -> None:
    seen = [training.status(spec, moment) for moment in moments]
    assert [ORDER.index(status) for status in seen] == sorted(ORDER.index(status) for status in seen)
    end = training.ends_at(spec)
    if end < FOREVER:
        assert training.status(spec, end - 0.001) in ORDER[:5]
        wanted = "failed" if spec.refusal or spec.crash else "succeeded"
        assert training.status(spec, end) == training.status(spec, end + 1e6) == wanted


@given(specs, times)
@settings(max_examples=40, deadline=None)
def test_what_was_told_is_never_taken_back(spec: Spec, moments: list[float]) -> None:
    before: list[telling.Told] = []
    for moment in moments:
        now = telling.events(spec, moment)
        assert now[: len(before)] == before
        assert all(event.at <= moment for event in now)
        before = now


@given(specs)
@settings(max_examples=60, deadline=None)
def test_losses_fall_and_steps_rise(spec: Spec) -> None:
    told = [event.data for event in telling.events(spec, 1e9) if event.type == "metrics" and event.data]
    losses = [float(str(data["train_loss"])) for data in told]
    steps = [int(str(data["step"])) for data in told]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert steps == sorted(set(steps))
    assert all(("valid_loss" in data) == (spec.validation_file is not None) for data in told)


def test_small_jobs_take_as_long_as_they_do_in_life() -> None:
    small = Spec("ftjob-a", "gpt-4.1-mini", "file-1", examples=10, tokens=2_500)
    large = replace(small, examples=400, tokens=400_000 // 3)
    assert 7 * 60 <= training.ends_at(small) <= 10 * 60
    assert 40 * 60 <= training.ends_at(large) <= 50 * 60


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 10), (4, 25), (1, 25), (33, 3), (208, 3), (9_000, 2), (30_000, 1)]
)
def test_default_epochs(examples: int, epochs: int) -> None:
    assert default_epochs(examples) == epochs


def test_a_pause_moves_everything_after_it_and_nothing_before() -> None:
    spec = Spec("ftjob-a", "gpt-4.1-mini", "file-1")
    plain_end = training.ends_at(spec)
    marks = (Mark(200, "pause"), Mark(1200, "resume"))
    assert training.ends_at(spec, marks[:1]) == FOREVER
    assert training.ends_at(spec, marks) == plain_end + 1000
    seen = [training.status(spec, at, marks) for at in (199, 201, 300, 1201, 1300)]
    assert seen == ["running", "pausing", "paused", "resuming", "running"]
    still = telling.events(spec, 1199, marks)
    assert [event for event in still if event.at <= 200] == telling.events(spec, 200)
    assert [event.message for event in still if event.at > 200] == ["Fine-tuning job paused"]


def test_nothing_is_told_after_a_cancel() -> None:
    spec = Spec("ftjob-a", "gpt-4.1-mini", "file-1")
    told = telling.events(spec, 1e6, (Mark(250, "cancel"),))
    assert told[-1].message == "Fine-tuning job cancelled"
    assert max(event.at for event in told) == 250
    assert training.status(spec, 1e6, (Mark(250, "cancel"),)) == "cancelled"


def test_the_order_of_what_is_told() -> None:
    spec = Spec("ftjob-a", "gpt-4.1-mini", "file-1", examples=10)
    told = telling.events(spec, 1e6)
    words = [event.message for event in told]
    assert words[:4] == [
        "Created fine-tuning job: ftjob-a",
        "Validating training file: file-1",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert words[4].startswith("Step 1/100: training loss=")
    assert words[-5:-2] == [
        "Checkpoint created at step 80",
        "Checkpoint created at step 90",
        f"New fine-tuned model created: {spec.tuned_model}",
    ]
    assert words[-1] == "The job has successfully completed."
    end = training.ends_at(spec)
    assert {event.at for event in told[-5:-2]} == {end}
    assert told[-1].at == end + 8
    assert told[-1].data is None


def test_the_result_file_has_every_step_and_leaves_out_what_was_not_measured() -> None:
    spec = Spec("ftjob-a", "gpt-4.1-mini", "file-1", examples=10)
    text = telling.result_csv(spec)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [int(row["step"]) for row in rows] == list(range(1, 101))
    assert {row["valid_loss"] for row in rows} == {""}
    assert "6e-05" in text
    validated = list(csv.DictReader(io.StringIO(telling.result_csv(replace(spec, validation_file="file-2")))))
    assert all(float(row["valid_loss"]) > float(row["train_loss"]) for row in validated)
