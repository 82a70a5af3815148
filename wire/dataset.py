"""What a training file holds: how many examples, and which line is wrong.  (pure)"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}

#: The outputs of a preference, and their older names.
OUTPUTS = (("preferred_output", "preferred_completion"), ("non_preferred_output", "non_preferred_completion"))
KINDS = ("chat", "preference", "reinforcement", "completion")


@dataclass
class Dataset:
    """`problems` maps each kind of dataset to the first thing that keeps this file from being one."""

    examples: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    torn: str | None = None  # the first line that is not a JSON object


class _Wrong(Exception):
    """This example is not of this kind, and the message says where."""


def examine(lines: Iterable[bytes], heed: Callable[[dict[str, object], int], None] | None = None) -> Dataset:
    """Read JSONL, a line at a time; blank lines are skipped, as OpenAI does.

    `heed` is told each example and how many bytes its line has."""
    found = Dataset()
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        found.examples += 1
        try:
            example = json.loads(raw)
        except (ValueError, RecursionError):
            example = None
        if not isinstance(example, dict):
            words = f"Invalid file format. Line {number} is not a valid JSON object."
            found.torn = found.torn or words
            for kind in KINDS:
                found.problems.setdefault(kind, words)
            continue
        for kind, check in _CHECKS.items():
            if kind not in found.problems:
                try:
                    check(example)
                except _Wrong as wrong:
                    found.problems[kind] = f"Invalid file format. Example {number}{wrong}"
        if heed is not None:
            heed(example, len(raw))
    return found


def _messages(example: dict[str, object], *, where: str = "") -> list[dict[str, object]]:
    messages = example.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _Wrong(f"{where} is missing key 'messages', or it is not a list of messages")
    for index, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            raise _Wrong(f"{where}, message {index} Input should be a valid dictionary")
        if "role" not in message:
            raise _Wrong(f"{where}, message {index} Discriminator 'role' is missing in value")
        if message["role"] not in _ROLES:
            raise _Wrong(f"{where}, message {index} role {message['role']!r} is not one of {sorted(_ROLES)}")
        content = message.get("content")
        spoken = message["role"] == "assistant" and any(map(message.get, ("tool_calls", "function_call", "refusal")))
        if not isinstance(content, str | list) and not spoken:
            raise _Wrong(f"{where}, message {index} is missing content")
    return messages


def _chat(example: dict[str, object]) -> None:
    if not any(message["role"] == "assistant" for message in _messages(example)):
        raise _Wrong(" has no message from the assistant")


def _reinforcement(example: dict[str, object]) -> None:
    if _messages(example)[-1]["role"] not in {"user", "developer"}:
        raise _Wrong(": the last message must be from the user")


def _preference(example: dict[str, object]) -> None:
    given = example.get("input")
    if not isinstance(given, dict):
        raise _Wrong(" is missing key 'input'")
    _messages(given, where=", input")
    for key, older in OUTPUTS:
        output = example.get(key, example.get(older))
        if not isinstance(output, list) or len(output) != 1:
            raise _Wrong(f" is missing key '{key}', or it is not a list of one assistant message")
        if _messages({"messages": output}, where=f", {key}")[0]["role"] != "assistant":
            raise _Wrong(f", {key} is not a message of the assistant")


def _completion(example: dict[str, object]) -> None:
    for key in ("prompt", "completion"):
        if not isinstance(example.get(key), str):
            raise _Wrong(f" is missing key '{key}'")


_CHECKS: dict[str, Callable[[dict[str, object]], None]] = {
    "chat": _chat,
    "preference": _preference,
    "reinforcement": _reinforcement,
    "completion": _completion,
}


def refusal(training: Dataset, validation: Dataset | None, kind: str, least: int = 10) -> tuple[str, str, str] | None:
    """The code, words and param with which a job on these files fails, or None. `least`: examples to train on."""
    for found, param in ((training, "training_file"), (validation, "validation_file")):
        if found is None:
            continue
        if kind in found.problems:
            words = f"The job failed due to an invalid {param.replace('_', ' ')}. {found.problems[kind]}"
            return f"invalid_{param}", words, param
        if param == "training_file" and found.examples < least:
            words = f"Training file has {found.examples} example(s), but must have at least {least} examples"
            return "invalid_n_examples", words, param
    return None


def hyperparameters(method: str, asked: Mapping[str, Any], examples: int, multiplier: float) -> dict[str, Any]:
    """What "auto" becomes once the files were looked at, by OpenAI's rules. `multiplier`: of the learning rate."""
    found: dict[str, Any] = {
        "n_epochs": default_epochs(examples),
        "batch_size": default_batch_size(examples),
        "learning_rate_multiplier": multiplier,
    }
    if method == "dpo":
        found["beta"] = 0.1
    if method == "reinforcement":
        found |= {"compute_multiplier": 1.0, "eval_interval": 5, "eval_samples": 4, "reasoning_effort": "medium"}
    return found | {name: value for name, value in asked.items() if value not in ("auto", "default")}


def default_epochs(examples: int) -> int:
    """OpenAI's rule: 3; small sets get more (at most 25), very large ones fewer."""
    if 3 * examples < 100:
        return min(25, 100 // max(1, examples))
    if 3 * examples > 25_000:
        return max(1, 25_000 // examples)
    return 3


def default_batch_size(examples: int) -> int:
    """OpenAI's rule: 0.2 % of the examples, 1 to 256."""
    return max(1, min(256, round(examples * 0.002)))
