"""The codes of OpenAI's cookbook ("Data preparation and analysis for chat model fine-tuning"), case by case.

`cookbook` below does what that notebook's format check does, so that agreement is seen rather than remembered.
"""

import json
from typing import Any

import pytest

from tests.unit.dataset.lines import GOOD, codes_of

USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def cookbook(example: Any) -> set[str]:
    if not isinstance(example, dict):
        return {"data_type"}
    messages = example.get("messages")
    if not messages:
        return {"missing_messages_list"}
    found = set()
    for message in messages:
        if "role" not in message or "content" not in message:
            found.add("message_missing_key")
        if any(key not in ("role", "content", "name", "function_call", "weight") for key in message):
            found.add("message_unrecognized_key")
        if message.get("role") not in ("system", "user", "assistant", "function"):
            found.add("unrecognized_role")
        content, call = message.get("content"), message.get("function_call")
        if (not content and not call) or not isinstance(content, str):
            found.add("missing_content")
    if not any(message.get("role") == "assistant" for message in messages):
        found.add("example_missing_assistant_message")
    return found


@pytest.mark.parametrize(
    "example",
    [
        GOOD,
        [GOOD],
        "messages",
        7,
        None,
        {},
        {"messages": []},
        {"messages": None},
        {"messages": {}},
        {"prompt": "a", "completion": "b"},
        {"messages": [USER]},
        {"messages": [{"role": "system", "content": "Be"}, USER]},
        {"messages": [{"content": "Hi"}, ASSISTANT]},
        {"messages": [{"role": "user"}, ASSISTANT]},
        {"messages": [{}, ASSISTANT]},
        {"messages": [USER, {"role": "assistant"}]},
        {"messages": [USER, {"role": "assistant", "content": None}]},
        {"messages": [USER, {"role": "assistant", "content": 5}]},
        {"messages": [USER, {"role": "assistant", "content": []}]},
        {"messages": [USER, {"role": "assistant", "content": {"text": "Hello"}}]},
        {"messages": [USER, ASSISTANT | {"wieght": 1}]},
        {"messages": [USER, ASSISTANT | {"weight": 1, "name": "bot"}]},
        {"messages": [{"role": "human", "content": "Hi"}, ASSISTANT]},
        {"messages": [{"role": "User", "content": "Hi"}, ASSISTANT]},
        {"messages": [{"role": None, "content": "Hi"}, ASSISTANT]},
        {"messages": [USER, {"role": "bot", "content": None, "extra": 1}]},
        {"messages": [{"role": "function", "name": "f", "content": "1"}, ASSISTANT]},
    ],
    ids=json.dumps,
)
def test_agrees_with_the_cookbook(example: Any) -> None:
    found = codes_of(example, errors_only=True)
    assert found - {"not_jsonl"} == cookbook(example)  # said besides, of a file that is one JSON array


@pytest.mark.parametrize(
    ("example", "code"),
    [
        # An empty text is taken by the upstream: a warning here, an error there.
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty_answer"),
        ({"messages": [{"role": "user", "content": ""}, ASSISTANT]}, "empty_content"),
    ],
)
def test_empty_texts_are_only_warned_of(example: Any, code: str) -> None:
    assert cookbook(example) == {"missing_content"}
    assert codes_of(example, errors_only=True) == set()
    assert code in codes_of(example)


@pytest.mark.parametrize(
    "example",
    [
        {"messages": [USER, {"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"}, ASSISTANT],
         "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/bird.png", "detail": "low"}}]}, ASSISTANT]},
        {"messages": [{"role": "developer", "content": "Be brief."}, USER, ASSISTANT]},
    ],
    ids=["tools", "vision", "developer"],
)  # fmt: skip
def test_accepts_what_openai_accepts_and_the_cookbook_does_not(example: Any) -> None:
    assert cookbook(example)
    assert codes_of(example) <= {"no_system_message"}
