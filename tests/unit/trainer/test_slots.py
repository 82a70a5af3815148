"""Slots: which there may be, and how many processes train a job in one."""

import pytest
from pydantic import ValidationError

from trainer.settings import Config, environment_of_child
from trainer.tune.ranks import count


@pytest.mark.parametrize(
    ("slot", "batch_size", "ranks"),
    [("cpu", 4, 1), ("0", 4, 1), ("0,1", 4, 2), ("0,1,2", 4, 2), ("4,5,6,7", 256, 4), ("0,1", 1, 1), ("cpu,cpu", 6, 2)],
)
def test_each_process_gets_an_equal_part_of_a_batch(slot: str, batch_size: int, ranks: int) -> None:
    assert count(slot, batch_size) == ranks


@pytest.mark.parametrize("slots", ["cpu;cpu", "cpu,0", "0,", "a", ""])
def test_slots_that_name_no_devices_are_refused(slots: str) -> None:
    with pytest.raises(ValidationError):
        Config(slots=slots)


@pytest.mark.parametrize(("slot", "gpus"), [("cpu", ""), ("cpu,cpu", ""), ("2,3", "2,3")])
def test_a_training_process_sees_its_own_gpus(slot: str, gpus: str) -> None:
    assert environment_of_child(slot)["CUDA_VISIBLE_DEVICES"] == gpus
