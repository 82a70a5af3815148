"""What a training file teaches: what the tuned model will say.  (pure)"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wire import dataset

# Enough to answer like the dataset, without keeping half a gigabyte of it.
_REMEMBERED_CHARS = 4_000_000


@dataclass(frozen=True)
class Answer:
    """One thing the tuned model learned: asked `question`, it says `message` (an assistant message)."""

    question: str
    message: dict[str, object]


@dataclass
class Dataset(dataset.Dataset):
    answers: list[Answer] = field(default_factory=list)


def examine(lines: Iterable[bytes]) -> Dataset:
    """Read JSONL, a line at a time, and remember the answers of what comes first."""
    answers: list[Answer] = []
    remembered = 0

    def heed(example: dict[str, object], size: int) -> None:
        nonlocal remembered
        if remembered < _REMEMBERED_CHARS:
            remembered += size
            answers.extend(_answers(example))

    found = dataset.examine(lines, heed)
    return Dataset(found.examples, found.problems, found.torn, answers)


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
