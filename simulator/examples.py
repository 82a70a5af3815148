"""What a training file holds: how many examples, which line is wrong, what the tuned model will say.  (pure)"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# Enough to answer like the dataset, without keeping half a gigabyte of it.
_REMEMBERED_CHARS = 4_000_000
_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}

KINDS = ("chat", "preference", "reinforcement", "completion")


@dataclass(frozen=True)
class Answer:
    """One thing the tuned model learned: asked `question`, it says `message` (an assistant message)."""

    question: str
    message: dict[str, object]


@dataclass
class Dataset:
    """`problems` maps each kind of dataset to the first thing that keeps this file from being one."""

    examples: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    torn: str | None = None  # the first line that is not a JSON object
    answers: list[Answer] = field(default_factory=list)


class _Wrong(Exception):
    """This example is not of this kind, and the message says where."""


def examine(lines: Iterable[bytes]) -> Dataset:
    """Read JSONL, a line at a time; blank lines are skipped, as OpenAI does."""
    found = Dataset()
    remembered = 0
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
        if remembered < _REMEMBERED_CHARS:
            remembered += len(raw)
            found.answers.extend(_answers(example))
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
        calls = message["role"] == "assistant" and (message.get("tool_calls") or message.get("function_call"))
        if not isinstance(content, str | list) and not calls:
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
    for key, older in (
        ("preferred_output", "preferred_completion"),
        ("non_preferred_output", "non_preferred_completion"),
    ):
        output = example.get(key, example.get(older))
        if not isinstance(output, list) or len(output) != 1:
            raise _Wrong(f" is missing key '{key}', or it is not a list of one assistant message")
        _messages({"messages": output}, where=f", {key}")


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


def text_of(content: object) -> str:
    """The words of a message's content, whether a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _answers(example: dict[str, object]) -> Iterable[Answer]:
    if isinstance(example.get("prompt"), str):
        yield Answer(str(example["prompt"]), {"content": str(example.get("completion", ""))})
        return
    given = example.get("input")
    messages = given.get("messages") if isinstance(given, dict) else example.get("messages")
    if not isinstance(messages, list):
        return
    preferred = example.get("preferred_output", example.get("preferred_completion"))
    question = ""
    for message in [*messages, *(preferred if isinstance(preferred, list) else [])]:
        if not isinstance(message, dict):
            continue
        if message.get("role") == "user":
            question = text_of(message.get("content"))
        elif message.get("role") == "assistant" and question:
            yield Answer(question, {key: message[key] for key in ("content", "tool_calls") if message.get(key)})
