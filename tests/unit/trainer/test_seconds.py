"""What an estimate by the hour is made of: the seconds of earlier jobs on the same base and device."""

from tests.fakes.trainer import BASE
from tests.unit.trainer.conftest import Make
from trainer.store import Store
from trainer.views import seconds_per_million


def test_before_the_first_job_nothing_is_known(store: Store, job: Make) -> None:
    assert seconds_per_million(store, BASE, "cpu") is None
    job("1", None, runs=[(9.0, "cpu")])
    job("2", "failed", runs=[(9.0, "cpu")], tokens=10)
    job("3", "cancelled", runs=[(9.0, "cpu")], tokens=10)
    assert seconds_per_million(store, BASE, "cpu") is None


def test_jobs_on_that_base_and_device_count_by_their_tokens(store: Store, job: Make) -> None:
    job("1", runs=[(10.0, "cpu")], tokens=1000)
    job("2", runs=[(20.0, "cpu"), (30.0, "cpu")], tokens=2000)  # it was paused, or died
    job("3", runs=[(1.0, "1 GPU")], tokens=10_000)
    job("4", runs=[(500.0, "cpu")], tokens=1000, model="other")
    assert seconds_per_million(store, BASE, "cpu") == 20_000.0  # 60 s for 3,000 tokens
    assert seconds_per_million(store, BASE, "1 GPU") == 100.0
    assert seconds_per_million(store, BASE, "2 GPU") is None


def test_a_job_whose_time_is_not_all_known_does_not_count(store: Store, job: Make) -> None:
    job("1", runs=[(None, "cpu"), (1.0, "cpu")], tokens=1000)  # its worker was killed, and told nothing
    job("2", runs=[(1.0, "cpu"), (1.0, "1 GPU")], tokens=1000)
    assert seconds_per_million(store, BASE, "cpu") is None
