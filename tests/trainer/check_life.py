"""The life of a training process: to its end, killed, paused, cancelled, out of memory."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from tests.trainer.jobs import (
    FACTS,
    PREFERENCES,
    SUPERVISED,
    answers,
    chat,
    events,
    make_job,
    preference,
    result,
    start,
    steps,
    train,
    wait_until,
    weights,
)


@pytest.fixture(scope="module")
def unbroken(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that was trained in one go."""
    folder = make_job(tmp_path_factory.mktemp("jobs") / "unbroken", base, validation=SUPERVISED[:3])
    assert train(folder) == 0
    return folder


def test_a_job_ends_with_models_metrics_and_no_pickle(unbroken: Path) -> None:
    found = result(unbroken)
    assert [row["step_number"] for row in found["checkpoints"]] == [6, 9, 12]
    assert found["model_folder"] == found["checkpoints"][-1]["folder"]
    assert steps(unbroken) == list(range(1, 13))
    told = [event["data"] for event in events(unbroken)]
    assert all(row["total_steps"] == 12 and row["train_loss"] > 0 for row in told)
    assert [row["step"] for row in told if "full_valid_loss" in row] == [3, 6, 9, 12]
    assert found["checkpoints"][0]["metrics"] == told[5]
    kept = {path.suffix for path in unbroken.rglob("*") if path.is_file()}
    assert not kept & {".bin", ".pt", ".pth"}
    assert not list(unbroken.glob("checkpoint-*"))


def test_killed_twice_it_ends_as_if_it_had_not_been(base: Path, unbroken: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "killed", base, validation=SUPERVISED[:3])
    for step in (3, 6):
        child = start(folder)
        wait_until((folder / f"checkpoint-{step}" / "trainer_state.json").exists, child)
        child.kill()
        child.wait()
    optimizer = folder / "checkpoint-6" / "optimizer.pt"  # half of it, as after a power cut
    optimizer.write_bytes(optimizer.read_bytes()[:1000])
    assert train(folder) != 0
    assert not optimizer.parent.exists(), "the next start goes on from the one before"
    torn = folder / "checkpoint-99"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    with (folder / "events.jsonl").open("a") as log:
        log.write('{"created_at": 17')
    assert train(folder) == 0
    assert weights(result(folder)["model_folder"]) == weights(result(unbroken)["model_folder"])
    assert steps(folder) == list(range(1, 13))
    assert [event["data"] for event in events(folder)] == [event["data"] for event in events(unbroken)]


def test_paused_in_the_middle_of_an_epoch_it_goes_on_from_there(base: Path, unbroken: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "paused", base, validation=SUPERVISED[:3])
    child = start(folder)
    wait_until(lambda: (folder / "events.jsonl").exists() and steps(folder), child)
    (folder / "control").write_text("pause\n")
    assert child.wait() == 0
    assert not (folder / "result.json").exists()
    paused_at = max(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
    assert steps(folder) == list(range(1, paused_at + 1))
    assert train(folder) == 0, "it is paused still"
    assert not (folder / "result.json").exists()
    (folder / "control").unlink()
    assert train(folder) == 0
    assert weights(result(folder)["model_folder"]) == weights(result(unbroken)["model_folder"])
    assert steps(folder) == list(range(1, 13))
    assert [row["step_number"] for row in result(folder)["checkpoints"]] == [6, 9, 12]


def test_cancelled_it_stops_within_a_step(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "cancelled", base, epochs=50)
    child = start(folder)
    wait_until(lambda: (folder / "events.jsonl").exists() and steps(folder), child)
    (folder / "control").write_text("cancel")
    last = steps(folder)[-1]
    assert child.wait() == 0
    assert not (folder / "result.json").exists()
    assert steps(folder)[-1] <= last + 2


def test_an_end_that_came_first_stands(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "ended", base, epochs=50)
    child = start(folder)
    wait_until(lambda: (folder / "events.jsonl").exists() and steps(folder), child)
    (folder / "result.json").write_text('{"status": "cancelled"}')
    assert child.wait() == 0
    assert json.loads((folder / "result.json").read_text()) == {"status": "cancelled"}


def test_a_folder_in_other_hands_is_left_alone(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "locked", base)
    with (folder / "lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert train(folder) == 0
    assert not (folder / "events.jsonl").exists()


def test_a_base_that_does_not_stop_where_its_answers_end_is_refused(base: Path, tmp_path: Path) -> None:
    """As a base model that brings the chat template of its instruct model: its eos is another token."""
    other = tmp_path / "base"
    shutil.copytree(base, other)
    for name, found in (("config.json", 0), ("generation_config.json", [0]), ("tokenizer_config.json", None)):
        row = json.loads((other / name).read_text())
        row |= {"eos_token": "<|endoftext|>"} if found is None else {"eos_token_id": found}
        (other / name).write_text(json.dumps(row))
    folder = make_job(tmp_path / "job", other)
    assert train(folder) == 0
    error = json.loads((folder / "result.json").read_text())["error"]
    assert error["code"] == "model_not_trainable"
    assert "answers end with '<|im_end|>', and a server would not stop there" in error["message"]


def test_too_little_memory_has_a_status_of_its_own(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "memory", base, training="lora", lora_r=2**36)
    assert train(folder) == 75
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"rows": [*SUPERVISED, {"messages": [{"role": "user", "content": "x"}]}]}, None, "1 examples"),
        (
            {
                "method": "dpo",
                "rows": [*PREFERENCES, preference("word " * 300, "x", "y"), preference("x", "same", "same")],
                "context": 200,
            },
            None,
            "2 examples",
        ),
        (
            {"rows": [*SUPERVISED, chat("x", "y") | {"tools": [{"type": "custom", "custom": {"name": "z"}}]}]},
            "invalid_training_file",
            "Example 13 of the training file: tool 1 is of type 'custom'",
        ),
        ({"training": "qlora"}, "qlora_needs_gpu", "QLoRA needs a GPU"),
    ],
)
def test_what_cannot_be_trained_fails_in_words(
    base: Path, tmp_path: Path, changes: dict[str, object], code: str | None, words: str
) -> None:
    folder = make_job(tmp_path / "bad", base, epochs=1, **changes)  # type: ignore[arg-type]
    assert train(folder) == 0
    found = json.loads((folder / "result.json").read_text())
    if code is None:  # a row that trains nothing is left out, and told
        assert found["status"] == "succeeded"
        assert events(folder)[0]["level"] == "warn"
        assert events(folder)[0]["message"].startswith(words)
        return
    assert found["status"] == "failed"
    assert found["error"]["code"] == code
    assert found["error"]["message"].startswith(words)


def test_dpo_prefers_what_was_preferred(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "dpo", base, PREFERENCES, method="dpo", epochs=6, validation=PREFERENCES[:3])
    assert train(folder) == 0
    last = result(folder)["checkpoints"][-1]["metrics"]
    assert last["train_reward_accuracy"] == 1.0
    assert last["train_reward_margin"] > 0.5
    assert last["full_valid_loss"] < 0.69


def test_twelve_of_twelve_by_heart(base: Path, by_heart: Path) -> None:
    assert answers(Path(result(by_heart)["model_folder"])) == [answer for _, answer in FACTS]
    assert not set(answers(base)) & {answer for _, answer in FACTS}


def test_an_adapter_merges_into_a_model_that_answers_the_same(base: Path, tmp_path: Path) -> None:
    import torch  # noqa: PLC0415
    from peft import AutoPeftModelForCausalLM  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    from trainer.tune.merge import merge  # noqa: PLC0415

    folder = make_job(tmp_path / "lora", base, training="lora", epochs=2)
    assert train(folder) == 0
    adapter = Path(result(folder)["model_folder"])
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    merged = merge(adapter)
    ids = torch.tensor([[5, 6, 7, 8]])
    logits = [
        model.from_pretrained(path)(ids).logits
        for model, path in (
            (AutoPeftModelForCausalLM, adapter),
            (AutoModelForCausalLM, merged),
            (AutoModelForCausalLM, base),
        )
    ]
    assert torch.allclose(logits[0], logits[1], atol=1e-4)
    assert not torch.allclose(logits[0], logits[2], atol=1e-4)
    assert (merged / "chat_template.jinja").read_text() == (base / "chat_template.jinja").read_text()


@pytest.mark.parametrize(
    ("method", "rows", "batch_size", "at_once"),
    [("supervised", 26, 16, 8), ("dpo", 32, 16, 8), ("dpo", 26, 16, 2), ("dpo", 25, 16, 1), ("dpo", 10, 4, 2)],
)
def test_each_example_of_a_batch_has_the_same_weight(
    base: Path, tmp_path: Path, method: str, rows: int, batch_size: int, at_once: int
) -> None:
    """TRL's DPO weighs the parts of a batch alike, also where the last of an epoch has fewer examples."""
    from trainer.tune.folder import Folder  # noqa: PLC0415
    from trainer.tune.training import options  # noqa: PLC0415

    asked = {"n_epochs": 1, "batch_size": batch_size, "learning_rate_multiplier": 1.0, "beta": 0.1}
    folder = Folder(make_job(tmp_path / "job", base, method=method, hyperparameters=asked))
    found = options(folder, folder.job(), rows, validated=True, on_gpu=False)
    assert found["per_device_train_batch_size"] == at_once
    assert found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == batch_size
    assert found["per_device_eval_batch_size"] == (1 if method == "supervised" else at_once)
