"""A row becomes an example: pairs, finished examples, and the shapes of other tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunehook.dataset.formats import CHAT_KEYS, NON_PREFERRED, PREFERRED, ends_open
from tunehook.dataset.other_tools import (
    READERS,
    Members,
    NoExampleError,
    Turns,
    joined,
    messages_of,
    pair,
    text_of,
    turn_of,
)
from tunehook.dataset.rows import Dropped, Row
from tunehook.dataset.shapes import ANSWERS, QUESTIONS, shape_of

_PREFERENCE = (*PREFERRED, *NON_PREFERRED)


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
    """Makes examples. `unused`: names of which no example was made; `asked`: those of the question."""

    system: str
    columns: Columns
    unused: dict[str, None] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)

    def make(self, row: Row) -> Example | Dropped:
        try:
            if not isinstance(row.value, dict):
                if shape_of(row.value) is None:
                    raise NoExampleError("neither an object nor a list of two texts")
                return self._example({"messages": pair(*row.value)}, "", row)
            return self._from_object(Members(row.value), row)
        except NoExampleError as why:
            return Dropped(row.at, str(why))
        except RecursionError:
            return Dropped(row.at, "nested too deep")

    def _from_object(self, members: Members, row: Row) -> Example:
        line = self._line(members)
        given = text_of(members.take("system")) if "system" in members.there else ""
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

    def _line(self, members: Members) -> dict[str, Any]:
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
            return {"messages": [turn_of(members.take("role"), members.take("content"))]}
        for name in ("conversations", "conversation", "contents", "chosen", "rejected", "prompt", "history"):
            if name in there:
                there[name] = _loaded(there[name])
        reader = READERS.get(kind) if (kind := getattr(shape_of(there), "kind", None)) else None
        return reader(members) if reader else self._from_pair(members)

    def _from_pair(self, members: Members) -> dict[str, Any]:
        there = members.there
        both = ("instruction", "input") if {"instruction", "input"} <= there.keys() else None
        asked = [name.lower() for name in self.columns.question] or both or _first(QUESTIONS, there)
        answered = [name.lower() for name in self.columns.answer] or _first(ANSWERS, there)
        if not {*asked, *answered} & there.keys():
            has = ", ".join(there)[:80] or "nothing"
            raise NoExampleError(f"neither `{QUESTIONS[0]}` nor `{ANSWERS[0]}`; it has {has}")
        self.asked.update(dict.fromkeys(name for name in asked if name in there))
        history = there.get("history")
        turns: Turns = []
        if isinstance(history, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in history):
            turns = [message for turn in members.take("history") for message in pair(*turn)]
        question = [members.take(name) for name in asked if name in there]
        if len(question) == 1 and isinstance(question[0], list):
            turns += messages_of(question[0], "question")
            question_text = None
        else:
            question_text = joined(question, "question")
        values = [members.take(name) for name in answered if name in there]
        if len(values) == 1 and isinstance(values[0], list) and question_text is None:
            return {"messages": [*turns, *messages_of(values[0], "answer")]}
        answer = joined(values, "answer")
        if question_text is None:
            return {"messages": [*turns, {"role": "assistant", "content": answer}]}
        return {"messages": [*turns, *pair(question_text, answer)]}


_SETTING = ("system", "developer")


def _first(names: Sequence[str], there: dict[str, Any]) -> list[str]:
    return [next((name for name in names if name in there), names[0])]


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
