"""One job in several processes, by `accelerate launch`: on the CPU here, by gloo, as several GPUs are by NCCL."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.trainer.jobs import FACTS, SUPERVISED, answers, events, make_job, result, start, steps, train, wait_until

SLOT = "cpu,cpu"


def ranks_of(launcher: int) -> list[psutil.Process]:
    """Returns the ranks that a training process has launched, in their order."""
    found = [child for child in psutil.Process(launcher).children() if "trainer.tune.ranks" in child.cmdline()]
    return sorted(found, key=lambda child: int(child.environ().get("RANK", "0")))


def end_within(processes: list[psutil.Process]) -> None:
    assert not psutil.wait_procs(processes, timeout=60)[1], "a rank has outlived its launcher"


def test_two_ranks_learn_what_one_process_does_through_a_pause_and_a_killed_rank(
    base: Path, by_heart: Path, tmp_path: Path
) -> None:
    folder = make_job(tmp_path / "pair", base, epochs=50)
    child = start(folder, SLOT)
    wait_until(lambda: (folder / "events.jsonl").exists() and steps(folder), child)
    assert len(ranks_of(child.pid)) == 2
    (folder / "control").write_text("pause\n")
    assert child.wait() == 0
    paused_at = max(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
    assert steps(folder) == list(range(1, paused_at + 1))
    (folder / "control").unlink()
    child = start(folder, SLOT)
    wait_until(lambda: steps(folder)[-1] > paused_at + 6, child)
    ranks = ranks_of(child.pid)
    ranks[1].send_signal(signal.SIGKILL)
    assert child.wait() == 1
    end_within(ranks)
    assert not (folder / "result.json").exists()
    assert train(folder, SLOT) == 0
    assert steps(folder) == list(range(1, 151)), "as many as of one process with the same batch, and each told once"
    assert result(folder)["trained_tokens"] == result(by_heart)["trained_tokens"]
    assert losses(folder)[:30] == pytest.approx(losses(by_heart)[:30], rel=0.02)
    assert [row["step_number"] for row in result(folder)["checkpoints"]] == [144, 147, 150]
    assert answers(Path(result(folder)["model_folder"])) == [answer for _, answer in FACTS]


def losses(folder: Path) -> list[float]:
    return [event["data"]["train_loss"] for event in events(folder) if event["type"] == "metrics"]


def test_ranks_end_with_their_launcher_and_at_a_cancel(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "ended", base, epochs=500, validation=SUPERVISED[:3])
    child = start(folder, SLOT)
    wait_until(lambda: len(ranks_of(child.pid)) == 2, child)
    ranks = ranks_of(child.pid)
    child.kill()
    child.wait()
    end_within(ranks)
    child = start(folder, SLOT)
    wait_until(lambda: (folder / "events.jsonl").exists() and len(steps(folder)) > 3, child)  # and a validation
    ranks = ranks_of(child.pid)
    (folder / "control").write_text("cancel")
    last = steps(folder)[-1]
    assert child.wait() == 0
    end_within(ranks)
    assert steps(folder)[-1] <= last + 2


def test_too_little_memory_of_a_rank_has_its_status_and_a_batch_is_divided_equally(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "memory", base, training="lora", lora_r=2**36)
    assert train(folder, "cpu,cpu,cpu") == 75
    told = [json.loads(line)["message"] for line in (folder / "server.jsonl").read_text().splitlines()]
    assert told == ["The slot has 3 devices, and the batch is divided equally among 2."]
