"""Reinforcement: a base answers each prompt several times, a grader rewards the answers, TRL's GRPO trains on that."""

import json
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from typing import Any

from datasets import Dataset
from trl import GRPOTrainer

from trainer.records import Job
from trainer.rows import BadRow
from trainer.similarity import similarity
from trainer.tune.folder import Row
from trainer.tune.labels import Encoder
from wire import grading

#: Answers to a prompt in a step, at a compute_multiplier of 1.
_ANSWERS = 8
#: Tokens that an answer may have, where the context has room for twice as many.
_LONGEST_ANSWER = 1024


class Rewarding(GRPOTrainer):  # type: ignore[misc]  # its class is typed only where torch is installed
    """GRPO on prompts that are text already, as a server makes them."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, Row]:
        return self.processing_class(text=prompts, add_special_tokens=False)["input_ids"], None, {}


def prompts(encoder: Encoder, grader: Mapping[str, Any]) -> Callable[[Row], Row]:
    """Returns what turns a row into its `prompt` and `item`; a prompt that leaves no room for an answer is empty."""

    def encode(row: Row) -> Row:
        name = grading.missing(grader, row)
        if name is not None:
            raise BadRow(f"it lacks what the grader reads, {name}")
        prompt = encoder.prompt(row)
        size = len(encoder.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        fits = encoder.longest is None or size + longest_answer(encoder.longest) <= encoder.longest
        return {"prompt": prompt if fits else "", "item": json.dumps(row)}

    return encode


def longest_answer(context: int | None) -> int:
    return min(_LONGEST_ANSWER, context // 2) if context else _LONGEST_ANSWER


def in_whole_batches(dataset: Dataset, job: Job) -> Dataset:
    """Returns a dataset in an order of its own, its last batch filled up with the first rows: TRL drops it otherwise.

    TRL's own order begins anew at each resume, and some rows would be trained twice."""
    rows = range(len(dataset))
    missing = -len(rows) % int(job.hyperparameters["batch_size"])
    return dataset.shuffle(seed=job.seed).select([*rows, *islice(cycle(rows), missing)])


def reward(grader: Mapping[str, Any]) -> Callable[..., list[float]]:
    """Returns the reward function of a grader."""

    def rewards(prompts: list[str], completions: list[str], item: list[str], **unused: Any) -> list[float]:
        rows = zip(prompts, completions, item, strict=True)
        return [
            grading.grade(grader, answer_of(prompt, text), json.loads(line), similarity).reward
            for prompt, text, line in rows
        ]

    return rewards


def answer_of(prompt: str, text: str) -> str:
    """Returns an answer without its thoughts: nothing, if these did not end."""
    _, end, words = text.rpartition("</think>")
    if end:
        return words.lstrip("\n")
    return "" if prompt.rstrip().endswith("<think>") or text.lstrip().startswith("<think>") else text


def options(job: Job, common: Row, *, ranks: int, at_once: int, context: int | None) -> Row:
    """Returns what GRPO is configured with. `common`: the options of all methods; `at_once`: answers at most."""
    asked = job.hyperparameters
    answers = max(2, round(_ANSWERS * asked["compute_multiplier"]))
    samples = int(asked["eval_samples"])
    of_rank = int(asked["batch_size"]) // ranks * answers
    trained = max(size for size in range(1, at_once + 1) if of_rank % size == 0)
    return {
        **{name: value for name, value in common.items() if name != "max_length"},
        "num_generations": answers,
        "per_device_train_batch_size": trained,
        "gradient_accumulation_steps": of_rank // trained,
        "num_generations_eval": samples,
        "per_device_eval_batch_size": samples * max(1, at_once // samples),
        "eval_strategy": "steps",
        "eval_steps": int(asked["eval_interval"]),
        "max_completion_length": longest_answer(context),
        "shuffle_dataset": False,
    }
