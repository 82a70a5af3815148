"""Reinforcement: answers that a grader rewards become more frequent, through kills as well."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.encoding import TOOLS, with_template
from tests.trainer.jobs import (
    FACTS,
    Row,
    answers,
    chat,
    events,
    make_job,
    result,
    start,
    steps,
    train,
    wait_until,
)
from trainer.rows import BadRow
from trainer.similarity import similarity
from trainer.tune.labels import Encoder
from trainer.tune.reinforcement import answer_of, prompts

QUESTIONS = [question for question, _ in FACTS[:6]]
GRADER = {
    "type": "string_check",
    "name": "heads",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
}
PROMPTS: list[Row] = [{"messages": chat(question, "")["messages"][:1], "answer": "Heads."} for question in QUESTIONS]
ASKED = {
    "n_epochs": 8,
    "learning_rate_multiplier": 1.0,
    "compute_multiplier": 1.0,
    "eval_interval": 3,
    "eval_samples": 4,
}


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that answers each question with Heads or Tails, one as often as the other."""
    from trainer.tune.tiny import make  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("coin")
    make(directory / "tiny", [*QUESTIONS, *["Heads.", "Tails."] * 9])
    rows = [chat(question, side) for question in QUESTIONS for side in ("Heads.", "Tails.")]
    folder = make_job(directory / "job", directory / "tiny", rows, epochs=20)
    assert train(folder) == 0
    return Path(result(folder)["model_folder"])


def rewarded(folder: Path, base: Path, rows: list[Row] = PROMPTS, grader: Row = GRADER, **changes: Any) -> Path:
    asked = {**ASKED, "batch_size": 4, **changes}
    return make_job(
        folder,
        base,
        rows,
        method="reinforcement",
        validation=PROMPTS,
        hyperparameters=asked,
        context=200,  # an answer has 100 tokens at most
        learning_rates={"reinforcement.full": 2e-3, "reinforcement.lora": 1e-2},
        request={"method": {"type": "reinforcement", "reinforcement": {"grader": grader}}},
    )


def test_a_coin_falls_on_the_side_that_is_rewarded(coin: Path, tmp_path: Path) -> None:
    folder = rewarded(tmp_path / "job", coin)
    assert train(folder) == 0
    assert answers(Path(result(folder)["model_folder"]))[:6] == ["Heads."] * 6
    told = [event for event in events(folder) if event["type"] == "metrics"]
    assert [event["data"]["step"] for event in told] == list(range(1, 17))  # 6 prompts are two batches of 4
    assert "full_valid_mean_reward" in told[-1]["data"]
    rewards = [event["data"]["train_mean_reward"] for event in told]
    assert sum(rewards[-6:]) > sum(rewards[:6]) + 1
    assert told[2]["message"].startswith("Step 3/16: train mean reward=0.")
    assert "full validation mean reward" in told[2]["message"]
    assert result(folder)["trained_tokens"] > 16 * 4 * 8 * 20  # prompts and answers


def test_a_kill_changes_nothing(coin: Path, tmp_path: Path) -> None:
    whole, killed = rewarded(tmp_path / "whole", coin), rewarded(tmp_path / "killed", coin)
    assert train(whole) == 0
    child = start(killed)
    wait_until(lambda: (killed / "events.jsonl").exists() and len(steps(killed)) >= 5, child)
    child.kill()
    child.wait()
    assert train(killed) == 0
    assert steps(killed) == steps(whole)
    one, other = (Path(result(job)["model_folder"]) / "model.safetensors" for job in (whole, killed))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*PROMPTS, {"messages": PROMPTS[0]["messages"]}], "lacks what the grader reads, item.answer"),
        ([*PROMPTS, PROMPTS[0] | {"tools": TOOLS}], "it has tools"),
    ],
)
def test_a_line_that_cannot_be_rewarded_is_named(coin: Path, tmp_path: Path, rows: list[Row], words: str) -> None:
    folder = rewarded(tmp_path / "bad", coin, rows)
    assert train(folder) == 0
    error = json.loads((folder / "result.json").read_text())["error"]
    assert error["code"] == "invalid_training_file"
    assert error["message"].startswith("Example 7 of the training file: ")
    assert words in error["message"]


def test_a_prompt_is_what_a_server_makes(base: Path, tmp_path: Path) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, *chat("Hello?", "Hi.")["messages"]]
    messages.append({"role": "user", "content": "And?"})
    encoded = prompts(Encoder(base, 400), GRADER)({"messages": messages, "answer": "x"})
    assert encoded["prompt"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\nHi."
        "<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert json.loads(encoded["item"]) == {"messages": messages, "answer": "x"}
    assert prompts(Encoder(base, 60), GRADER)({"messages": messages, "answer": "x"})["prompt"] == ""  # no room
    with pytest.raises(BadRow, match="template refuses it: Conversation roles"):
        Encoder(with_template(base, tmp_path / "strict", "gemma3")).prompt({"messages": messages[:1] + messages[2:]})


@pytest.mark.parametrize(
    ("prompt", "text", "answer"),
    [
        ("assistant\n", "Hi.", "Hi."),
        ("assistant\n", "<think>\nA greeting.\n</think>\n\nHi.", "Hi."),
        ("assistant\n<think>\n", "A greeting.\n</think>\n\nHi.", "Hi."),
        ("assistant\n<think>\n", "A greeting that does not end", ""),
        ("assistant\n", "<think>\nA greeting that does not end", ""),
    ],
)
def test_thoughts_are_not_rewarded(prompt: str, text: str, answer: str) -> None:
    assert answer_of(prompt, text) == answer


@pytest.mark.parametrize("metric", ["fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_2", "rouge_l"])
def test_similarities_are_from_0_to_1(metric: str) -> None:
    said = "The cat sat on the mat in Zürich."
    assert similarity(metric, said, said) == pytest.approx(1)
    assert 0.3 < similarity(metric, "The cat sat on a mat in Zürich.", said) < 1
    assert similarity(metric, "1 2 3", said) < 0.4
    assert similarity(metric, "", said) == 0


def test_rouge_is_the_share_of_words_that_both_have() -> None:
    said, wanted = "police killed the gunman", "police kill the gunman"  # Lin's example
    found = [similarity(metric, said, wanted) for metric in ("rouge_1", "rouge_2", "rouge_l")]
    assert found == pytest.approx([3 / 4, 1 / 3, 3 / 4])
    assert similarity("rouge_l", "the gunman kill police", wanted) == 0.5
