"""What other tools write as one row: ShareGPT, Gemini, TRL's preferences, a question and an answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tunehook.dataset.formats import NON_PREFERRED, PREFERRED
from tunehook.dataset.shapes import GEMINI, SHAREGPT, TRL

Turns = list[dict[str, Any]]
_ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatgpt", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}


class NoExampleError(Exception):
    """The row holds no example; the text says why."""


class Members:
    """A row's members by lower-case name, and which of them were used."""

    def __init__(self, row: dict[Any, Any]) -> None:
        self.there = {str(name).strip().lower(): value for name, value in row.items()}
        self._names = {str(name).strip().lower(): str(name).strip() for name in row}
        self._used: set[str] = set()

    def take(self, name: str) -> Any:
        self._used.add(name)
        return self.there.get(name)

    def left(self) -> list[str]:
        """The names of members that hold something and were not used."""
        unused = (name for name in self.there if name not in self._used and not is_empty(self.there[name]))
        return [self._names[name] for name in unused]


def is_empty(value: Any) -> bool:
    return value is None or value in ("", []) or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any) -> str:
    return "" if is_empty(value) else str(value)


def joined(values: list[Any], what: str) -> str:
    if any(not is_empty(value) and isinstance(value, dict | list | bytes) for value in values):
        raise NoExampleError(f"`{what}` is not a text")
    return "\n\n".join(text for text in (text_of(value).strip() for value in values) if text)


def pair(question: Any, answer: Any) -> Turns:
    question, answer = joined([question], "question"), joined([answer], "answer")
    if not question:
        raise NoExampleError("no question")
    if not answer:
        raise NoExampleError("no answer")
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def turn_of(who: Any, text: Any) -> dict[str, Any]:
    role = _ROLES.get(str(who).strip().lower())
    if role is None:
        raise NoExampleError(f"a turn of {str(who)[:40]!r}, which is neither the user's nor the assistant's")
    if not isinstance(text, str) or not text.strip():
        raise NoExampleError(f"a turn of the {role} without a text")
    return {"role": role, "content": text}


def messages_of(turns: list[Any], what: str) -> Turns:
    """Turns as ShareGPT or the chat format writes them."""
    if not turns or not all(isinstance(turn, dict) for turn in turns):
        raise NoExampleError(f"`{what}` is not a text")
    said = [(turn.get("from") or turn.get("role"), turn.get("value") or turn.get("content")) for turn in turns]
    return [turn_of(who, text) for who, text in said]


def _sharegpt(members: Members) -> dict[str, Any]:
    name = "conversations" if "conversations" in members.there else "conversation"
    return {"messages": messages_of(members.take(name), name)}


def _gemini(members: Members) -> dict[str, Any]:
    told = members.take("systeminstruction")
    setting = [{**told, "role": "system"}] if isinstance(told, dict) else []
    turns = []
    for content in [*setting, *members.take("contents")]:
        parts = content.get("parts") if isinstance(content, dict) else None
        given = parts if isinstance(parts, list) else [None]
        texts = [part.get("text") if isinstance(part, dict) else None for part in given]
        if not all(isinstance(text, str) for text in texts):
            raise NoExampleError("a part that is no text")
        turns.append(turn_of(content.get("role", "user"), "".join(map(str, texts))))
    return {"messages": turns}


def _trl(members: Members) -> dict[str, Any]:
    given = members.take("prompt")
    prompt = messages_of(given, "prompt") if isinstance(given, list) else []
    if not is_empty(given) and not isinstance(given, list):
        prompt = [{"role": "user", "content": joined([given], "prompt")}]
    outputs = []
    for name in ("chosen", "rejected"):
        told = members.take(name)
        turns = messages_of(told, name) if isinstance(told, list) else _spoken(joined([told], name))
        if not turns[-1]["content"] or turns[-1]["role"] != "assistant":
            raise NoExampleError(f"`{name}` is no answer")
        outputs.append(turns)
    before = [turns[:-1] for turns in outputs]
    if before[0] != before[1]:
        raise NoExampleError("`chosen` and `rejected` differ before the last answer")
    if not (before[0] or prompt):
        raise NoExampleError("no `prompt`")
    if outputs[0][-1] == outputs[1][-1]:
        raise NoExampleError("`chosen` and `rejected` are the same")
    return {
        "input": {"messages": before[0] or prompt},
        PREFERRED[0]: outputs[0][-1:],
        NON_PREFERRED[0]: outputs[1][-1:],
    }


def _spoken(text: str) -> Turns:
    """One answer, or a conversation as Anthropic's hh-rlhf writes it."""
    if not text.startswith("Human:"):
        return [{"role": "assistant", "content": text}]
    _, *said = re.split(r"(?:^|\n\n)(Human|Assistant):", text)
    return [
        turn_of("user" if who == "Human" else "gpt", body.strip()) for who, body in zip(*[iter(said)] * 2, strict=True)
    ]


READERS: dict[str, Callable[[Members], dict[str, Any]]] = {
    SHAREGPT.kind: _sharegpt,
    GEMINI.kind: _gemini,
    TRL.kind: _trl,
}
