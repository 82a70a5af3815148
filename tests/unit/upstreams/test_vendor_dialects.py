"""What Fireworks and Together were read to answer, and what is made of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnknown,
    UpstreamUnsupported,
)
from tunehook.model.job import ENDS, JobError, JobSpec
from tunehook.upstreams import fireworks_dialect as fireworks
from tunehook.upstreams import fireworks_log, fireworks_requests, members, together_log
from tunehook.upstreams import together_dialect as together
from tunehook.upstreams.members import marked_suffix, suffix_mark

TAG = "tunehook/ftjob-1"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def spec(**given: Any) -> JobSpec:
    return JobSpec.model_validate({"model": "m", "training_file": "file-1", "seed": 7} | given)


def fw_job(**given: Any) -> Any:
    raw = {"name": "accounts/a/supervisedFineTuningJobs/x", "state": "JOB_STATE_RUNNING"} | given
    return fireworks.job("fw", raw, fireworks.SUPERVISED)


def tg_job(**given: Any) -> Any:
    return together.job("tg", {"id": "ft-1", "status": "running"} | given)


# ---- Fireworks


@pytest.mark.parametrize(("state", "status"), fireworks.STATES.items())
def test_each_state_of_fireworks_has_a_status(state: str, status: str) -> None:
    assert fw_job(state=f"JOB_STATE_{state}").status == status


@pytest.mark.parametrize("state", ["JOB_STATE_UNSPECIFIED", "JOB_STATE_HIBERNATING", "succeeded", "failed", "NEW"])
def test_an_unknown_state_ends_nothing(state: str) -> None:
    assert not fw_job(state=state).ended


def test_a_job_of_fireworks() -> None:
    job = fw_job(
        state="JOB_STATE_COMPLETED",
        createTime="2026-11-26T00:00:00.123456789Z",
        completedTime="2026-11-26T01:00:00Z",
        baseModel="accounts/fireworks/models/m",
        dataset="accounts/a/datasets/d",
        epochs=2,
        jobProgress={"percent": 100, "inputTokens": "9000"},
    )
    assert (job.id, job.created_at, job.finished_at) == ("x", 1795651200, 1795654800)
    assert (job.fine_tuned_model, job.trained_tokens) == ("accounts/a/models/x", 9000)
    assert (job.training_file, job.hyperparameters) == ("d", {"n_epochs": 2, "batch_size": None})
    assert fw_job(state="JOB_STATE_RUNNING", outputModel="owls").fine_tuned_model is None
    assert fw_job(state="JOB_STATE_COMPLETED", outputModel="owls").fine_tuned_model == "accounts/a/models/owls"
    dpo = {"name": "accounts/a/dpoJobs/x", "state": "JOB_STATE_COMPLETED", "trainingConfig": {"outputModel": "o"}}
    assert fireworks.job("fw", dpo, fireworks.DPO).fine_tuned_model == "accounts/a/models/o"
    assert fireworks.job("fw", dpo, fireworks.DPO).id == "dpoJobs:x"


def test_why_a_job_of_fireworks_failed() -> None:
    status = {"code": "INVALID_ARGUMENT", "message": "dpoJobs/x: line 3"}
    assert fw_job(state="JOB_STATE_FAILED", status=status).error == JobError(
        code="invalid_argument", message="dpoJobs:x: line 3"
    )
    internal = fw_job(state="JOB_STATE_FAILED", status={"code": "INTERNAL", "message": "Internal error."}).error
    assert "bad dataset" in internal.message
    assert fw_job(state="JOB_STATE_EXPIRED").error.code == "expired"
    assert fw_job(state="JOB_STATE_RUNNING", status=status).error is None


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (400, {"code": 3, "message": "m"}, UpstreamRefused, "invalid_argument"),
        (400, {"code": 9, "message": "m"}, UpstreamRefused, "failed_precondition"),
        (404, {"error": {"code": 5, "message": "m"}}, UpstreamRefused, "not_found"),
        (409, {"code": 6, "message": "m"}, UpstreamUnknown, fireworks.EXISTS),
        (409, None, UpstreamUnknown, fireworks.EXISTS),
        (409, {"code": 10, "message": "m"}, UpstreamUnknown, "aborted"),
        (400, {"code": 8, "message": "m"}, UpstreamBusy, None),
        (402, None, UpstreamBusy, "insufficient_quota"),
        (412, None, UpstreamRefused, None),
        (413, None, UpstreamRefused, None),
        (401, {"message": "key fw-…"}, UpstreamUnauthorized, None),
        (403, {"code": 16}, UpstreamUnauthorized, None),
        (500, {"code": 13, "message": "m"}, UpstreamUnknown, "internal"),
        (404, [], UpstreamRefused, None),
        (302, None, UpstreamUnknown, None),
    ],
)
def test_errors_of_fireworks(status: int, body: object, error: type[UpstreamError], code: str | None) -> None:
    found = fireworks.refusal("fw", status, body, {"retry-after": "7"})
    assert (type(found), found.code, found.status) == (error, code, status)
    assert "key" not in found.message or error is UpstreamUnauthorized


def test_what_a_create_at_fireworks_says() -> None:
    def body(given: JobSpec, **options: Any) -> dict[str, Any]:
        return fireworks_requests.create_body("fw", given, TAG, training="t", validation=None, options=options)

    auto = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert body(spec(hyperparameters=auto)) == {"baseModel": "m", "dataset": "t", "displayName": TAG}
    assert body(spec(suffix="owls"), loraRank=8, baseModel="x", dataset="y") == {
        "baseModel": "m",
        "dataset": "t",
        "displayName": "owls",
        "loraRank": 8,
    }
    dpo = body(spec(method={"type": "dpo"}), loraRank=8, useReservation=True)
    assert dpo["lossConfig"] == {"method": "DPO", "dpo": {"beta": 0.1}}
    assert (dpo["trainingConfig"], dpo["useReservation"]) == ({"baseModel": "m", "loraRank": 8}, True)


@pytest.mark.parametrize(
    "given",
    [
        {"hyperparameters": {"learning_rate_multiplier": 2}},
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"learning_rate_multiplier": 0.5}}}},
        {"method": {"type": "reinforcement"}},
        {"integrations": [{"type": "wandb"}]},
    ],
)
def test_what_neither_vendor_has_is_refused_before_it_is_sent(given: dict[str, Any]) -> None:
    with pytest.raises(UpstreamUnsupported):
        fireworks_requests.create_body("fw", spec(**given), TAG, training="t", validation=None, options={})
    with pytest.raises(UpstreamUnsupported):
        together.create_body("tg", spec(**given), TAG, training_file="t", validation_file=None)


@pytest.mark.parametrize("beta", [0.5, 2])
def test_fireworks_takes_no_large_beta(beta: float) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": beta}}}
    with pytest.raises(UpstreamUnsupported, match="beta is above 0"):
        fireworks_requests.create_body("fw", spec(method=method), TAG, training="t", validation=None, options={})


@given(st.text())
def test_our_ids_at_fireworks_stay_within_the_smallest_alphabet(mark: str) -> None:
    named = fireworks.named(mark.encode("utf-8", "replace").decode())
    assert members.is_id(named)
    assert (named[:3], named, len(named)) == ("th-", named.lower(), 35)


def test_events_made_of_a_jobs_state_have_one_id_for_one_thing() -> None:
    raw = {"name": "accounts/a/supervisedFineTuningJobs/x", "state": "JOB_STATE_RUNNING", "updateTime": "bad"}
    raw["jobProgress"] = {"percent": 40}  # type: ignore[assignment]
    first = fireworks_log.messages(raw, fireworks.job("fw", raw, fireworks.SUPERVISED))
    again = fireworks_log.messages(raw | {"updateTime": "2026-11-26T00:00:00Z"}, fw_job())
    assert [one.upstream_event_id for one in first] == [one.upstream_event_id for one in again]
    assert first[-1].message == "Created fine-tuning job: x"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ({"state": "UPLOADING"}, UpstreamNotReady),
        ({}, UpstreamNotReady),
        ({"state": "NEW"}, UpstreamNotReady),
        ({"state": "UPLOADING", "status": {"code": "INVALID_ARGUMENT", "message": "line 3"}}, UpstreamRefused),
    ],
)
def test_a_dataset_of_fireworks_is_ready_or_not(raw: dict[str, Any], error: type[UpstreamError]) -> None:
    assert fireworks.dataset_id("fw", {"state": "READY"}, "d") == "d"
    with pytest.raises(error):
        fireworks.dataset_id("fw", raw, "d")


# ---- Together


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"type": "Lora"}, None),
        ({"type": "Lora", "lora_r": 8}, {"type": "Lora", "lora_r": 8, "lora_alpha": 16}),
        ({"type": "Lora", "lora_r": 8, "lora_alpha": 8}, {"type": "Lora", "lora_r": 8, "lora_alpha": 8}),
        ({"type": "Full"}, {"type": "Full"}),
    ],
)
def test_a_rank_without_alpha_gets_twice_the_rank(asked: dict[str, Any], sent: dict[str, Any] | None) -> None:
    given = spec(options={"training_type": asked, "learning_rate": 1e-5, "n_evals": 3})
    body = together.create_body("tg", given, TAG, training_file="t", validation_file="v")
    assert (body.get("training_type"), body["learning_rate"], body["n_evals"]) == (sent, 1e-5, 3)


@pytest.mark.parametrize(("shown", "status"), together.STATUSES.items())
def test_each_status_of_together_is_translated(shown: str, status: str) -> None:
    assert tg_job(status=shown).status == status


@pytest.mark.parametrize("shown", ["succeeded", "failed", "hibernating", "paused"])
def test_an_unknown_status_ends_nothing(shown: str) -> None:
    assert not tg_job(status=shown).ended


@pytest.mark.parametrize("suffix", [None, "owls", "x" * 64, "owls-", "-" * 40])
def test_the_suffix_ends_with_our_mark_and_is_short_enough(suffix: str | None) -> None:
    found = marked_suffix(suffix, TAG, together.LONGEST_SUFFIX)
    assert found.endswith(suffix_mark(TAG))
    assert len(found) <= 40
    assert len(suffix_mark(TAG)) == 12


def test_a_job_is_ours_by_its_suffix_in_any_case_or_by_its_models_name() -> None:
    mark = suffix_mark(TAG)
    rows = [
        {"id": "ft-1", "status": "running", "suffix": f"Owls-{mark.upper()}", "created_at": "2026-11-26T00:00:02Z"},
        {
            "id": "ft-2",
            "status": "completed",
            "model_output_name": f"a/m-{mark}-1",
            "created_at": "2026-11-26T00:00:01Z",
        },
        {"id": "ft-3", "status": "running", "suffix": "owls", "random_seed": 7},
    ]
    found = together.ours("tg", {"data": rows}, spec(), TAG, training_file="", since=0)
    assert [job.id for job in found] == ["ft-2", "ft-1"]
    with pytest.raises(UpstreamUnknown):  # ours, and unreadable: it must not count as absent
        together.ours("tg", {"data": [*rows, {"suffix": mark}]}, spec(), TAG, training_file="", since=0)


def test_a_failed_row_without_a_reason_is_listed_too() -> None:
    rows = [
        {"id": "ft-1", "status": "error"},
        {"id": "ft-2", "status": "error", "events": [{"type": "JOB_ERROR", "message": "why"}]},
        {"id": "ft-3", "status": "running", "created_at": "2026-11-26T00:00:02Z"},
        {"id": None, "status": "running"},
    ]
    assert [job.id for job in together.jobs("tg", {"data": rows})] == ["ft-3", "ft-2", "ft-1"]


def test_the_reason_of_a_failure_is_the_last_event_that_tells_one() -> None:
    events = [
        {"type": "JOB_ERROR", "message": "first", "created_at": "2026-11-26T00:00:01Z", "level": "legacy_ierror"},
        {"type": "billing_limit", "message": "last", "created_at": "2026-11-26T00:00:02Z"},
        {"type": "refund", "message": "money", "created_at": "2026-11-26T00:00:03Z", "level": "Info"},
    ]
    told = together_log.messages("ft-1", events)
    assert [one.level for one in told] == ["info", "info", "error"]
    assert together_log.error_in(told) == JobError(code="billing_limit", message="last")
    assert together_log.error_in(told[:1]) is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("PENDING", UpstreamNotReady),
        ("NEW", UpstreamNotReady),
        ("FAILED", UpstreamRefused),
        ("COMPLETED", None),
        (None, None),
    ],
)
def test_a_file_of_together_is_ready_or_not(status: str | None, error: type[UpstreamError] | None) -> None:
    raw = {"id": "file-1", "processing_status": status}
    if error is None:
        assert together.file_id("tg", raw) == "file-1"
    else:
        with pytest.raises(error):
            together.file_id("tg", raw)


@pytest.mark.parametrize("answer", [{"data": ["m"]}, {"data": [{"id": "m"}]}, {"models": [{"model_name": "m"}, {}, 3]}])
def test_the_list_of_models_is_read_in_each_form(answer: dict[str, Any]) -> None:
    assert [row["id"] for row in together.models("tg", answer)] == ["m"]


# ---- both


@given(st.dictionaries(st.sampled_from([*fw_job().model_dump(), "name", "state", "jobProgress", "status"]), JSON))
def test_no_job_of_fireworks_raises_anything_else(raw: dict[str, Any]) -> None:
    try:
        job = fireworks.job("fw", {"name": "accounts/a/dpoJobs/x", "state": "JOB_STATE_FAILED"} | raw, fireworks.DPO)
        fireworks_log.messages(raw, job)
    except UpstreamUnknown:
        pass


@given(st.dictionaries(st.sampled_from([*tg_job().model_dump(), "events", "random_seed", "token_count"]), JSON))
def test_no_job_of_together_raises_anything_else(raw: dict[str, Any]) -> None:
    try:
        job = together.job("tg", {"id": "ft-1", "status": "error"} | raw)
        assert job.status not in ENDS or job.status in together.STATUSES.values()
    except UpstreamUnknown:
        pass


def test_no_text_is_longer_than_a_record_may_hold_and_no_name_is_cut() -> None:
    long = "x" * 20_000
    error = fw_job(state="JOB_STATE_FAILED", status={"code": "INTERNAL", "message": long}).error
    assert len(error.message) < 9000
    assert tg_job(status="completed", model_output_name=long).fine_tuned_model is None
    assert len(together_log.messages("ft-1", [{"type": "x", "message": str(n)} for n in range(20_000)])) == 10_000
    assert (
        together_log.metrics_csv({"metrics": [{"train/global_step": 1e999, "train/loss": float("nan")}]}).count(b"\n")
        == 1
    )


def test_an_answer_about_another_job_is_no_answer() -> None:
    with pytest.raises(UpstreamUnknown, match="another job"):
        fireworks.named_job("fw", {"name": "accounts/a/dpoJobs/x", "state": "JOB_STATE_RUNNING"}, fireworks.DPO, TAG)
    with pytest.raises(UpstreamUnknown, match="another job"):
        together.made("tg", {"id": "ft-1", "status": "pending", "suffix": "owls"}, TAG)
    assert together.made("tg", {"id": "ft-1", "status": "pending"}, TAG).id == "ft-1"
    with pytest.raises(UpstreamUnknown, match="another dataset"):
        fireworks.dataset_id("fw", {"name": "accounts/a/datasets/x", "state": "READY"}, "d")


@given(JSON, st.integers(200, 599))
def test_no_error_answer_raises(body: object, status: int) -> None:
    for refusal in (fireworks.refusal, together.refusal):
        assert refusal("v", status, body, {}).message


@pytest.mark.parametrize("raw", [None, 5, "", "yesterday", "2026-13-01", [], "0001-01-01T00:00:00Z"])
def test_what_is_no_time_is_zero(raw: object) -> None:
    assert members.unix(raw) == 0
