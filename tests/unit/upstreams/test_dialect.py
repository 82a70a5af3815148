"""What upstreams were seen to answer, and what is made of it (docs/simulator.md lists the oddities)."""

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
)
from tunehook.model.job import JobError, JobSpec, UpstreamJob
from tunehook.upstreams import dialect, members, recognition

LEAST: dict[str, Any] = {"id": "ftjob-1", "status": "running"}


def read(**members: Any) -> UpstreamJob:
    return dialect.job("openai", LEAST | members)


@pytest.mark.parametrize("error", [None, {}, {"code": None, "message": None, "param": None}, "", []])
def test_a_healthy_jobs_error_is_none(error: object) -> None:
    assert read(error=error).error is None


def test_a_failed_jobs_error_has_all_its_members_whatever_was_left_out() -> None:
    assert read(error={"code": "c", "message": None}).error == JobError(code="c", message="c")
    assert read(error={"message": "m", "param": ""}).error == JobError(code="error", message="m")
    found = read(error={"code": "c", "message": "m", "param": "training_file"}).error
    assert found == JobError(code="c", message="m", param="training_file")


@pytest.mark.parametrize(
    "members",
    [
        {"result_files": None, "organization_id": None, "finished_at": None, "trained_tokens": None},
        {"hyperparameters": None, "method": None, "metadata": None, "created_at": None, "model": None},
        {"user_provided_suffix": "x", "usage_metrics": None, "shared_with_openai": False, "surprise": {"a": [1]}},
    ],
)
def test_nulls_and_undocumented_members_are_no_trouble(members: dict[str, Any]) -> None:
    found = read(**members)
    assert (found.id, found.result_files, found.error) == ("ftjob-1", [], None)


@pytest.mark.parametrize(
    "status", ["created", "pending", "pausing", "paused", "resuming", "validating_files", "new one"]
)
def test_unknown_statuses_are_kept_and_are_no_ends(status: str) -> None:
    assert read(status=status).status == status
    assert not read(status=status).ended


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_these_are_ends(status: str) -> None:
    assert read(status=status).ended


def test_azures_minus_one_is_auto_wherever_it_stands() -> None:
    found = read(
        hyperparameters={"n_epochs": -1, "batch_size": 4},
        method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": -1, "beta": 0.1}}},
    )
    assert found.hyperparameters == {"n_epochs": "auto", "batch_size": 4}
    assert found.method == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": "auto", "beta": 0.1}}}


@pytest.mark.parametrize(
    "answer",
    [None, [], "ok", 1, {}, {"id": "ftjob-1"}, {"status": "running"}, {"id": None, "status": "running"},
     LEAST | {"status": 3}, LEAST | {"finished_at": "yesterday"}, LEAST | {"trained_tokens": {}}],
)  # fmt: skip
def test_what_is_no_job_may_still_have_had_an_effect(answer: object) -> None:
    with pytest.raises(UpstreamUnknown):
        dialect.job("openai", answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.dictionaries(st.sampled_from([*UpstreamJob.model_fields]), JSON, max_size=6)


@given(MEMBERS)
def test_any_answer_is_a_job_or_unknown(members: dict[str, Any]) -> None:
    try:
        found = dialect.job("openai", LEAST | members)
    except UpstreamUnknown:
        return
    assert found.id
    assert found.fingerprint


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"message": "no"}, UpstreamRefused),
        (403, {"message": "closed", "code": "training_not_available"}, UpstreamRefused),
        (404, {"message": "no such file"}, UpstreamRefused),
        (422, None, UpstreamRefused),
        (400, {"message": "File 'x' is still being processed and is not ready"}, UpstreamNotReady),
        (401, {"message": "key"}, UpstreamUnauthorized),
        (429, {"message": "slots"}, UpstreamBusy),
        (408, None, UpstreamUnknown),
        (409, None, UpstreamUnknown),
        (500, {"message": "sorry"}, UpstreamUnknown),
        (502, "<html>", UpstreamUnknown),
        (503, None, UpstreamUnknown),
        (504, None, UpstreamUnknown),
        (418, None, UpstreamUnknown),
    ],
)
def test_what_a_status_means(status: int, body: object, kind: type[UpstreamError]) -> None:
    found = dialect.refusal("openai", status, body, {})
    assert type(found) is kind
    assert found.status == status
    assert found.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("1e9", 86400.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert dialect.refusal("openai", 429, {}, {"retry-after": header}).retry_after == seconds


@pytest.mark.parametrize("header", ["nan", "inf", "1e400"])
def test_a_retry_after_that_is_no_time_is_none(header: str) -> None:
    """`float` takes these; a pause of `nan` or for ever would park the job."""
    assert dialect.refusal("openai", 429, {}, {"retry-after": header}).retry_after is None


def test_events_are_read_as_they_come_whatever_they_lack() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "d", "created_at": 7, "message": "done", "data": {}},
        {"id": "c", "created_at": 5, "message": "m", "data": None, "type": "message"},
        {"id": "b", "created_at": "yesterday", "message": None, "level": "warn", "type": "moderation_checks"},
        {"id": "a", "created_at": 6.0, "data": {"step": 1}, "type": "metrics"},
        {"created_at": 1, "message": "no id: its content tells it from others"},
    ]
    found = dialect.messages(rows)
    assert [message.upstream_event_id for message in found] == ["d", "c", "b", "a", ""]
    assert [message.level for message in found] == ["info", "info", "warn", "info", "info"]
    assert [message.created_at for message in found] == [7, 5, 0, 6, 1]
    assert [message.type for message in found] == ["message", "message", "moderation_checks", "metrics", "message"]
    assert [message.data for message in found] == [{}, None, None, {"step": 1}, None]


@given(st.lists(st.dictionaries(st.sampled_from(["id", "created_at", "level", "message", "type", "data"]), JSON)))
def test_any_event_is_a_message(rows: list[dict[str, Any]]) -> None:
    assert len(dialect.messages(rows)) == len(rows)


def test_whose_job_it_is() -> None:
    spec = JobSpec(model="m", training_file="ours", seed=7, hyperparameters={"n_epochs": 3, "batch_size": "auto"})
    tag = "tunehook/ftjob-ours"

    def ours(**members: Any) -> bool:
        shown = {"model": "m-2025", "created_at": 100, **members}
        return bool(recognition.ours([read(**shown)], tag, spec, "file-there", since=100))

    assert ours(metadata={"tunehook": tag, "other": "x"})
    assert not ours(metadata={"tunehook": "tunehook/ftjob-other"}, seed=7, training_file="file-there")
    assert not ours(metadata={"tunehook": "another/ftjob-ours"})
    # An upstream that shows no metadata: our seed on our file.
    assert ours(metadata=None, seed=7, training_file="file-there")
    assert not ours(metadata=None, seed=8, training_file="file-there")
    assert not ours(metadata=None, seed=7, training_file="file-other")
    assert ours(metadata=None, seed=7, training_file="file-there", hyperparameters={"n_epochs": 3, "batch_size": 8})
    assert not ours(metadata=None, seed=7, training_file="file-there", created_at=99)
    assert ours(metadata=None, seed=7, training_file="file-there", created_at=None)
    # Neither is shown everywhere as it was asked for.
    assert ours(metadata=None, seed=7, training_file="file-there", hyperparameters={"n_epochs": 4}, model="other/m")
    # Somebody else's metadata: not ours, whatever the seed.
    assert not ours(metadata={"team": "them"}, seed=7, training_file="file-there")


def test_the_likeliest_comes_first_and_where_marks_are_shown_likeness_counts_nothing() -> None:
    spec = JobSpec(model="m", training_file="ours", seed=7, hyperparameters={"n_epochs": 3})
    tag, alike = "tunehook/ftjob-ours", {"seed": 7, "training_file": "file-there", "model": "m"}
    older = read(**alike, id="older", created_at=100, hyperparameters={"n_epochs": 4})
    twin = read(**alike, id="twin", created_at=101, hyperparameters={"n_epochs": 3})
    ours = read(**alike, id="ours", created_at=102, metadata={"tunehook": tag})
    theirs = read(**alike, id="theirs", created_at=102, metadata={"tunehook": "other/ftjob-x"})

    def found(*jobs: UpstreamJob) -> list[str]:
        return [job.id for job in recognition.ours(jobs, tag, spec, "file-there", since=100)]

    assert found(older, twin) == ["twin", "older"]
    assert found(older, twin, ours) == ["ours"]
    assert found(older, twin, theirs) == []


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": {}}, {"data": [1]}, {"data": "x"}])
def test_what_is_no_list_is_unknown(answer: dict[str, Any]) -> None:
    with pytest.raises(UpstreamUnknown):
        members.rows("openai", answer)


@pytest.mark.parametrize("answer", [None, {}, {"id": ""}, {"id": 5}, []])
def test_what_has_no_id_is_unknown(answer: object) -> None:
    with pytest.raises(UpstreamUnknown):
        dialect.identifier("openai", answer)
