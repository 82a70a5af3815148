"""A row becomes an example: pairs, finished examples, and the shapes of other tools."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunehook.dataset.formats import CHAT_KEYS, NON_PREFERRED, PREFERRED, ends_open
from tunehook.dataset.rows import Dropped, Row
from tunehook.dataset.shapes import ANSWERS, GEMINI, QUESTIONS, SHAREGPT, TRL, shape_of

Turns = list[dict[str, Any]]
_PREFERENCE = (*PREFERRED, *NON_PREFERRED)
_ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatgpt", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}


class _NoExampleError(Exception):
    """The row holds no example; the text says why."""


@dataclass(frozen=True, slots=True)
class Example:
    """`line`: as it is written. `conversation`: what rows have in common that are turns of one conversation."""

    line: dict[str, Any]
    at: str
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns or members, in any case. `question`, `answer`: several are joined by an empty line; empty: by
    the usual names. `conversation`: rows with the same value in it are turns of one conversation."""

    question: Sequence[str] = ()
    answer: Sequence[str] = ()
    conversation: str | None = None

    @property
    def named(self) -> list[str]:
        return [*self.question, *self.answer, *([self.conversation] if self.conversation else [])]


@dataclass(slots=True)
class Maker:
    """Makes examples. `unused`: the names of what no example was made of; `asked`: of what was the question."""

    system: str
    columns: Columns
    unused: dict[str, None] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)

    def make(self, row: Row) -> Example | Dropped:
        try:
            if not isinstance(row.value, dict):
                if shape_of(row.value) is None:
                    raise _NoExampleError("neither an object nor a list of two texts")
                return self._example({"messages": _pair(*row.value)}, "", row)
            return self._from_object(_Members(row.value), row)
        except _NoExampleError as why:
            return Dropped(row.at, str(why))
        except RecursionError:
            return Dropped(row.at, "nested too deep")

    def _from_object(self, members: _Members, row: Row) -> Example:
        line = self._line(members)
        given = _text_of(members.take("system")) if "system" in members.there else ""
        conversation = members.take(self.columns.conversation.lower()) if self.columns.conversation else None
        self.unused.update(dict.fromkeys(members.left()))
        turns = line.get("messages")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            conversation = None
        return self._example(line, given, row, None if conversation is None else str(conversation))

    def _example(self, line: dict[str, Any], system: str, row: Row, conversation: str | None = None) -> Example:
        said = system if system.strip() else self.system
        of = line["input"] if isinstance(line.get("input"), dict) else line
        turns = of.get("messages")
        has = isinstance(turns, list) and any(isinstance(t, dict) and t.get("role") in _SETTING for t in turns)
        if isinstance(turns, list) and said.strip() and not has:
            of["messages"] = [{"role": "system", "content": said}, *turns]
        return Example(line, row.at, conversation)

    def _line(self, members: _Members) -> dict[str, Any]:
        there = members.there
        if self.columns.question or self.columns.answer:
            return self._from_pair(members)
        if isinstance(messages := _loaded(there.get("messages")), list):
            open_ended = ends_open(messages)  # of the reinforcement format, whose further members are the grader's
            kept = [name for name in there if open_ended or name in CHAT_KEYS]
            line = {name: _loaded(members.take(name)) for name in kept}
            return {name: _without_nulls(value) for name, value in line.items() if value is not None}
        if not there.keys().isdisjoint(_PREFERENCE) or isinstance(there.get("input"), dict):
            return {name: _without_nulls(members.take(name)) for name in ("input", *_PREFERENCE) if name in there}
        if self.columns.conversation and there.keys() >= {"role", "content"}:
            return {"messages": [_turn(members.take("role"), members.take("content"))]}
        for name in ("conversations", "conversation", "contents", "chosen", "rejected", "prompt", "history"):
            if name in there:
                there[name] = _loaded(there[name])
        reader = _READERS.get(kind) if (kind := getattr(shape_of(there), "kind", None)) else None
        return reader(members) if reader else self._from_pair(members)

    def _from_pair(self, members: _Members) -> dict[str, Any]:
        there = members.there
        both = ("instruction", "input") if {"instruction", "input"} <= there.keys() else None
        asked = [name.lower() for name in self.columns.question] or both or _first(QUESTIONS, there)
        answered = [name.lower() for name in self.columns.answer] or _first(ANSWERS, there)
        if not {*asked, *answered} & there.keys():
            has = ", ".join(there)[:80] or "nothing"
            raise _NoExampleError(f"neither `{QUESTIONS[0]}` nor `{ANSWERS[0]}`; it has {has}")
        self.asked.update(dict.fromkeys(name for name in asked if name in there))
        history = there.get("history")
        turns: Turns = []
        if isinstance(history, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in history):
            turns = [message for turn in members.take("history") for message in _pair(*turn)]
        question = [members.take(name) for name in asked if name in there]
        if len(question) == 1 and isinstance(question[0], list):
            turns += _messages(question[0], "question")
            question_text = None
        else:
            question_text = _joined(question, "question")
        values = [members.take(name) for name in answered if name in there]
        if len(values) == 1 and isinstance(values[0], list) and question_text is None:
            return {"messages": [*turns, *_messages(values[0], "answer")]}
        answer = _joined(values, "answer")
        if question_text is None:
            return {"messages": [*turns, {"role": "assistant", "content": answer}]}
        return {"messages": [*turns, *_pair(question_text, answer)]}


_SETTING = ("system", "developer")


class _Members:
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
        unused = (name for name in self.there if name not in self._used and not _is_empty(self.there[name]))
        return [self._names[name] for name in unused]


def _first(names: Sequence[str], there: dict[str, Any]) -> list[str]:
    return [next((name for name in names if name in there), names[0])]


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", []) or (isinstance(value, float) and math.isnan(value))


def _text_of(value: Any) -> str:
    return "" if _is_empty(value) else str(value)


def _joined(values: list[Any], what: str) -> str:
    if any(not _is_empty(value) and isinstance(value, dict | list | bytes) for value in values):
        raise _NoExampleError(f"`{what}` is not a text")
    return "\n\n".join(text for text in (_text_of(value).strip() for value in values) if text)


def _pair(question: Any, answer: Any) -> Turns:
    question, answer = _joined([question], "question"), _joined([answer], "answer")
    if not question:
        raise _NoExampleError("no question")
    if not answer:
        raise _NoExampleError("no answer")
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _turn(who: Any, text: Any) -> dict[str, Any]:
    role = _ROLES.get(str(who).strip().lower())
    if role is None:
        raise _NoExampleError(f"a turn of {str(who)[:40]!r}, which is neither the user's nor the assistant's")
    if not isinstance(text, str) or not text.strip():
        raise _NoExampleError(f"a turn of the {role} without a text")
    return {"role": role, "content": text}


def _messages(turns: list[Any], what: str) -> Turns:
    """Turns as ShareGPT or the chat format writes them."""
    if not turns or not all(isinstance(turn, dict) for turn in turns):
        raise _NoExampleError(f"`{what}` is not a text")
    said = [(turn.get("from") or turn.get("role"), turn.get("value") or turn.get("content")) for turn in turns]
    return [_turn(who, text) for who, text in said]


def _sharegpt(members: _Members) -> dict[str, Any]:
    name = "conversations" if "conversations" in members.there else "conversation"
    return {"messages": _messages(members.take(name), name)}


def _gemini(members: _Members) -> dict[str, Any]:
    told = members.take("systeminstruction")
    setting = [{**told, "role": "system"}] if isinstance(told, dict) else []
    turns = []
    for content in [*setting, *members.take("contents")]:
        parts = content.get("parts") if isinstance(content, dict) else None
        given = parts if isinstance(parts, list) else [None]
        texts = [part.get("text") if isinstance(part, dict) else None for part in given]
        if not all(isinstance(text, str) for text in texts):
            raise _NoExampleError("a part that is no text")
        turns.append(_turn(content.get("role", "user"), "".join(map(str, texts))))
    return {"messages": turns}


def _trl(members: _Members) -> dict[str, Any]:
    given = members.take("prompt")
    prompt = _messages(given, "prompt") if isinstance(given, list) else []
    if not _is_empty(given) and not isinstance(given, list):
        prompt = [{"role": "user", "content": _joined([given], "prompt")}]
    outputs = []
    for name in ("chosen", "rejected"):
        told = members.take(name)
        turns = _messages(told, name) if isinstance(told, list) else _answer(_joined([told], name))
        if not turns[-1]["content"] or turns[-1]["role"] != "assistant":
            raise _NoExampleError(f"`{name}` is no answer")
        outputs.append(turns)
    before = [turns[:-1] for turns in outputs]
    if before[0] != before[1]:
        raise _NoExampleError("`chosen` and `rejected` differ before the last answer")
    if not (before[0] or prompt):
        raise _NoExampleError("no `prompt`")
    if outputs[0][-1] == outputs[1][-1]:
        raise _NoExampleError("`chosen` and `rejected` are the same")
    return {
        "input": {"messages": before[0] or prompt},
        PREFERRED[0]: outputs[0][-1:],
        NON_PREFERRED[0]: outputs[1][-1:],
    }


def _answer(text: str) -> Turns:
    return [{"role": "assistant", "content": text}]


def _loaded(value: Any) -> Any:
    """A list that a table holds as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return read if isinstance(read, list) and all(isinstance(one, dict | list) for one in read) else value
    return value


def _without_nulls(value: Any) -> Any:
    """A table's export writes null for each member that another row has."""
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return value


_READERS: dict[str, Callable[[_Members], dict[str, Any]]] = {
    SHAREGPT.kind: _sharegpt,
    GEMINI.kind: _gemini,
    TRL.kind: _trl,
}
