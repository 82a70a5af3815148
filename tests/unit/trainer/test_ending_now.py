"""A job that ends while it is looked at: what is shown of it is of one moment."""

import pytest

from tests.unit.trainer.conftest import Make
from trainer import views
from trainer.store import Store


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_job_that_is_shown_as_running_has_no_end(
    job: Make, store: Store, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job("a", status, tokens=7)
    monkeypatch.setattr(store, "status", lambda found: "running")  # read a moment before it ended
    shown = views.job(store, store.jobs[folder.name])
    assert shown["status"] == "running"
    assert shown["finished_at"] is shown["fine_tuned_model"] is shown["trained_tokens"] is None
    assert shown["result_files"] == []
