"""A page for a poll: what has not changed is not read, and nothing that has changed is passed over."""

from typing import Any

import pytest

from tunehook.model.job import UpstreamJob
from tunehook.upstreams import dialect

RUNNING = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "running", "created_at": 1, "model": "m"}
KNOWN = {"ftjob-1": dialect.job("openai", RUNNING).fingerprint}


def page(*rows: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(rows), "has_more": more}


def test_a_row_that_says_what_is_known_is_not_read() -> None:
    odd = {**RUNNING, "hyperparameters": "none of these", "trained_tokens": "many"}  # would be left out if it were read
    found = dialect.news("openai", page(odd, more=True), KNOWN)
    assert (found.changed, found.unchanged, found.after) == ([], ["ftjob-1"], "ftjob-1")


@pytest.mark.parametrize(
    "change",
    [
        {"status": "succeeded"},
        {"status": "failed", "error": {"code": "x", "message": "y"}},
        {"finished_at": 7},
        {"fine_tuned_model": "ft:m:acme::1"},
        {"estimated_finish": 9},
    ],
)
def test_whatever_a_fingerprint_has_is_news(change: dict[str, Any]) -> None:
    row = {**RUNNING, **change}
    found = dialect.news("openai", page(row), KNOWN)
    assert found.changed == [dialect.job("openai", row)]
    assert (found.unchanged, found.after) == ([], None)


@pytest.mark.parametrize("members", [{"finished_at": 7.0}, {"finished_at": "7"}, {"fine_tuned_model": 12}])
def test_what_an_upstream_writes_otherwise_is_read_as_before(members: dict[str, Any]) -> None:
    """Such a row may be read once more; it tells what `dialect.job` makes of it, and no more."""
    row = {**RUNNING, **members}
    known = {"ftjob-1": dialect.job("openai", row).fingerprint}
    found = dialect.news("openai", page(row), known)
    assert [job.id for job in found.changed] + found.unchanged == ["ftjob-1"]
    assert [job.fingerprint for job in found.changed] in ([], [known["ftjob-1"]])


def test_an_unreadable_row_is_left_out_and_the_page_goes_on_behind_the_last_that_is_readable() -> None:
    rows = (RUNNING, {**RUNNING, "id": "ftjob-2"}, {"id": "ftjob-3", "status": 5}, {"status": "running"})
    found = dialect.news("openai", page(*rows, more=True), KNOWN)
    assert [job.id for job in found.changed] == ["ftjob-2"]
    assert (found.unchanged, found.after) == (["ftjob-1"], "ftjob-2")


def test_a_page_without_a_readable_row_is_the_last() -> None:
    assert dialect.news("openai", page({"id": "ftjob-3", "status": 5}, more=True), KNOWN).after is None


def test_an_end_is_news_in_each_poll_until_it_is_written() -> None:
    """What has ended is kept without a fingerprint (`Upstreams.noticed`)."""
    ended = UpstreamJob(id="ftjob-1", status="succeeded")
    assert dialect.news("openai", page({**RUNNING, "status": "succeeded"}), {"ftjob-1": ""}).changed[0].ended
    assert ended.fingerprint != ""
