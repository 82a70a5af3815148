"""How a job looks outside at each stage: OpenAI's object, every id in it ours, held against the contract."""

import json
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from tests.contract.checker import Contract
from tunehook.model.job import ENDS, FileRef, Job, JobError, JobSpec, Message, Stage, UpstreamJob, Waiting
from tunehook.openai_format import jobs
from tunehook.webhooks import publishing

SPEC = JobSpec(model="gpt-4.1-mini", training_file="file-ours", seed=3, metadata={"team": "birds"})
SCHEMA = ("components", "schemas", "FineTuningJob")


def job(**members: Any) -> Job:
    ref = FileRef(id="file-ours", sha256="0" * 64, bytes=10)
    least = {"id": "ftjob-ours", "project": "p", "key_id": "k", "created_at": 100, "spec": SPEC, "upstream": "openai"}
    return Job(**{**least, "training": ref, **members})


def seen(status: str = "running", **members: Any) -> UpstreamJob:
    return UpstreamJob(**{"id": "ftjob-theirs", "status": status, "training_file": "file-theirs", **members})


WAITING = Waiting(code="no_slot", reason="Others wait.", since=100, retry_at=160)
STAGES: dict[str, tuple[Job, str]] = {
    "accepted": (job(), "validating_files"),
    "uploading": (job(stage=Stage.UPLOADING), "validating_files"),
    "creating": (job(stage=Stage.CREATING), "validating_files"),
    "waiting": (job(stage=Stage.WAITING, waiting=WAITING), "queued"),
    "tracked": (job(stage=Stage.TRACKED, upstream_job_id="ftjob-theirs", seen=seen("running")), "running"),
    "paused": (job(stage=Stage.TRACKED, upstream_job_id="ftjob-theirs", seen=seen("paused")), "paused"),
    "succeeded": (
        job(
            stage=Stage.SETTLED, status="succeeded", settled_at=200, upstream_job_id="ftjob-theirs",
            seen=seen("succeeded", finished_at=190, fine_tuned_model="ft:m", trained_tokens=5, result_files=["file-t"]),
            result_files={"file-t": "file-result"},
        ),
        "succeeded",
    ),
    "refused": (
        job(stage=Stage.SETTLED, status="failed", settled_at=200, error=JobError(code="c", message="m")), "failed",
    ),
    "cancelled": (job(stage=Stage.SETTLED, status="cancelled", settled_at=200), "cancelled"),
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_is_what_the_contract_and_the_sdk_say(contract: Contract, stage: str) -> None:
    record, status = STAGES[stage]
    shown = jobs.job_object(record, revision=1)
    assert contract.faults_of(SCHEMA, json.loads(json.dumps(shown))) == []
    assert shown["status"] == status
    parsed = FineTuningJob.model_validate(shown, strict=False) if status != "paused" else None
    assert parsed is None or parsed.id == "ftjob-ours"


@pytest.mark.parametrize("stage", STAGES)
def test_an_upstreams_ids_stand_in_our_member_alone(stage: str) -> None:
    shown = jobs.job_object(STAGES[stage][0], revision=1)
    theirs = json.dumps({name: value for name, value in shown.items() if name != "tunehook"})
    assert "theirs" not in theirs
    assert "file-t" not in theirs.replace("file-result", "")


def test_an_end_has_a_time_an_error_or_a_model() -> None:
    ended = jobs.job_object(STAGES["succeeded"][0], revision=1)
    assert (ended["finished_at"], ended["fine_tuned_model"], ended["result_files"]) == (190, "ft:m", ["file-result"])
    refused = jobs.job_object(STAGES["refused"][0], revision=1)
    assert (refused["finished_at"], refused["fine_tuned_model"]) == (200, None)
    assert refused["error"] == {"code": "c", "message": "m", "param": None}
    assert jobs.job_object(STAGES["tracked"][0], revision=1)["finished_at"] is None


@pytest.mark.parametrize("status", sorted(ENDS))
def test_an_end_is_told_with_all_that_will_be_asked_next(contract: Contract, status: str) -> None:
    error = JobError(code="c", message="m") if status == "failed" else None
    model = "ft:m" if status == "succeeded" else None
    last = seen(status, fine_tuned_model=model)
    ended = job(stage=Stage.SETTLED, status=status, settled_at=200, error=error, seen=last)
    data = jobs.job_event_data(ended, revision=4)
    event = publishing.make_event(f"fine_tuning.job.{status}", data, project="p", job_id=ended.id, now=201)
    contract.check_webhook(event.body.encode())
    told = json.loads(event.body)
    assert (told["type"], told["id"], told["created_at"]) == (f"fine_tuning.job.{status}", event.id, 201)
    assert told["data"]["metadata"] == {"team": "birds"}
    assert ": " not in event.body.replace('": "', "").partition("error")[0]  # compact: these bytes are signed


def test_hyperparameters_are_what_was_chosen_then_asked_then_auto() -> None:
    asked = SPEC.model_copy(
        update={"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}}
    )
    auto = {"batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": "auto"}
    assert jobs.hyperparameters(job()) == auto
    assert jobs.hyperparameters(job(spec=asked)) == auto | {"n_epochs": 2}
    chosen = seen(hyperparameters={"n_epochs": 4, "batch_size": None})
    assert jobs.hyperparameters(job(spec=asked, seen=chosen)) == auto | {"n_epochs": 4}
    dpo = SPEC.model_copy(update={"method": {"type": "dpo"}})
    assert jobs.hyperparameters(job(spec=dpo)) == {}  # the SDK's type has no null


def test_events_speak_of_our_ids(contract: Contract) -> None:
    tracked = STAGES["tracked"][0]
    said = Message(created_at=5, level="debug", message="Validating training file: file-theirs of ftjob-theirs")
    shown = jobs.event_object(tracked, "1-0", said)
    assert shown["message"] == "Validating training file: file-ours of ftjob-ours"
    assert shown["level"] == "info"
    assert contract.faults_of(("components", "schemas", "FineTuningJobEvent"), shown) == []
    FineTuningJobEvent.model_validate(shown)


VALIDATION = FileRef(id="file-val", sha256="1" * 64, bytes=10)
THEIRS = "Example 3 of file-theirs, not of file-v-theirs (job ftjob-theirs) nor file-theirs2; results in file-t."
OURS = "Example 3 of file-ours, not of file-val (job ftjob-ours) nor file-theirs2; results in file-result."


def test_whatever_an_upstream_says_of_a_job_names_our_ids() -> None:
    last = seen("failed", validation_file="file-v-theirs", result_files=["file-t"])
    members: dict[str, Any] = {"validation": VALIDATION, "upstream_job_id": "ftjob-theirs", "seen": last}
    error = JobError(code="c", message=THEIRS, param="training_file")
    ended = job(
        stage=Stage.SETTLED,
        status="failed",
        settled_at=200,
        error=error,
        result_files={"file-t": "file-result"},
        **members,
    )
    assert jobs.job_object(ended, revision=1)["error"] == {"code": "c", "message": OURS, "param": "training_file"}
    assert jobs.event_object(ended, "e", Message(created_at=5, message=THEIRS))["message"] == OURS
    waiting = WAITING.model_copy(update={"reason": "ftjob-theirs waits for 'file-v-theirs'."})
    shown = jobs.job_object(job(stage=Stage.WAITING, waiting=waiting, **members), revision=1)
    assert shown["tunehook"]["waiting"]["reason"] == "ftjob-ours waits for 'file-val'."


def test_before_an_upstream_has_a_job_its_files_are_known_by_what_was_sent() -> None:
    before = job(validation=VALIDATION)
    assert (
        jobs.own_ids("No file-a here, nor file-b.", before, ("file-a", "file-b")) == "No file-ours here, nor file-val."
    )
    assert jobs.own_ids("No file-a here.", before) == "No file-a here."


def test_a_file_that_lies_at_the_upstream_keeps_its_name() -> None:
    """Said as often as you like: what is ours already stays."""
    there = job(training=FileRef(id="upstream:file-theirs", sha256="", bytes=0), seen=seen(validation_file="file-v"))
    said = jobs.own_ids("Read file-theirs and file-v", there)
    assert said == jobs.own_ids(said, there) == "Read upstream:file-theirs and upstream:file-v"


def test_one_projects_receiver_is_one_lane() -> None:
    lane = publishing.receiver_of("p", "https://a.example/")
    assert lane == publishing.receiver_of("p", "https://a.example/")
    assert (
        len(
            {lane, publishing.receiver_of("q", "https://a.example/"), publishing.receiver_of("p", "https://b.example/")}
        )
        == 3
    )
