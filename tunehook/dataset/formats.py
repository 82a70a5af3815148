"""Formats: how each of the four is detected, and the rules for a parsed line."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable
from typing import Any, Literal

from tunehook.dataset.control_tokens import Say, check_text
from tunehook.dataset.findings import plural, shown, shown_member
from tunehook.dataset.messages import check_messages, is_messages
from tunehook.dataset.shapes import shape_of
from tunehook.dataset.tool_calls import check_tools

Format = Literal["chat", "preference", "reinforcement", "completion"]
#: By what a file of `messages` is judged if its lines may be of both formats: told before, or when a job names it.
Judged = Literal["chat", "reinforcement", "later"]
FORMATS: tuple[Format, ...] = ("chat", "preference", "reinforcement", "completion")
CHAT_KEYS = frozenset(("messages", "tools", "parallel_tool_calls", "functions"))
# OpenAI's description of the format says …_completion, its examples and its server …_output: both are in use.
PREFERRED = ("preferred_output", "preferred_completion")
NON_PREFERRED = ("non_preferred_output", "non_preferred_completion")
NO_SYSTEM = "No message of role 'system' or 'developer'."
_OUTPUTS = frozenset((*PREFERRED, *NON_PREFERRED))
_PREFERENCE_KEYS = _OUTPUTS | {"input"}


def detect(lines: Iterable[Any], judged: Judged | None = None) -> Format:
    """What most of these parsed lines look like; chat if nothing can be told.

    `judged`: by what lines are judged that may be of the chat and the reinforcement format. "later": those without an
    answer are taken for reinforcement, as they can be nothing else; without it for chat lines that lost their answer.
    """
    lines = list(lines)
    votes = dict.fromkeys(FORMATS, 0)
    for line in lines:
        looks = looks_like(line)
        if looks:
            votes[looks] += 1
    form = max(FORMATS, key=lambda f: votes[f])
    if judged is None or form not in ("chat", "reinforcement"):
        return form
    given = [line for line in lines if isinstance(line, dict) and is_messages(line.get("messages"))]
    opened = [line for line in given if ends_open(line["messages"])]
    if judged == "chat":
        return "chat" if any(_has_answer(line["messages"]) for line in given) else form
    bare = opened if judged == "reinforcement" else [line for line in opened if not _has_answer(line["messages"])]
    return "reinforcement" if bare and 2 * len(opened) > len(given) else form


def looks_like(line: Any) -> Format | None:
    if not isinstance(line, dict):
        return None
    if not _OUTPUTS.isdisjoint(line) or isinstance(line.get("input"), dict):
        return "preference"
    if "messages" in line:
        # A chat line that lost its answer ends with the user too, but brings nothing for a grader.
        more = not CHAT_KEYS.issuperset(line)
        return "reinforcement" if more and ends_open(line["messages"]) else "chat"
    return "completion" if "prompt" in line or "completion" in line else None


def ends_open(messages: Any) -> bool:
    """The last message is the user's or the developer's: an answer could follow."""
    last = messages[-1] if is_messages(messages) else None
    return isinstance(last, dict) and last.get("role") in ("user", "developer")


def _has_answer(messages: list[Any]) -> bool:
    return any(isinstance(message, dict) and message.get("role") == "assistant" for message in messages)


def check_line(line: Any, form: Format, say: Say) -> None:
    """Applies the rules of `form` to a parsed line. Never raises."""
    if not isinstance(line, dict):
        say("data_type", "$", f"A line must be an object; this is {shown(line)}.")
    else:
        _RULES[form](line, say)


def _instead(line: dict[str, Any], form: Format) -> str:
    other = looks_like(line)
    shape = shape_of(line)
    if shape is not None and other != form:
        return f" This has the shape of {shape.name}: {shape.advice}"
    return f" This looks like a line of the {other} format." if other and other != form else ""


def _messages(line: dict[str, Any], form: Format, say: Say) -> list[Any] | None:
    messages = line.get("messages")
    if is_messages(messages):
        return messages
    about = f"`messages` is {shown_member(line, 'messages')}.{_instead(line, form)}"
    say("missing_messages_list", "$.messages", about)
    return None


def _check_keys(line: dict[str, Any], known: Container[str], path: str, say: Say) -> None:
    for key in line:
        if key not in known:
            say("example_unrecognized_key", path, f"Unknown member {shown(key)}.")


def _check_chat(line: dict[str, Any], say: Say) -> None:
    tools = check_tools(line, "$", say)
    messages = _messages(line, "chat", say)
    if messages is None:
        return
    _check_keys(line, CHAT_KEYS, "$", say)
    check_messages(messages, "$.messages", say, tools)
    roles = [m.get("role") if isinstance(m, dict) else None for m in messages]
    if "assistant" not in roles:
        say("example_missing_assistant_message", "$.messages", "No message of role 'assistant'.")
    else:
        if roles[-1] != "assistant":
            say("last_message_not_assistant", f"$.messages[{len(roles) - 1}]", f"The last role is {shown(roles[-1])}.")
        answers = [m for m in messages if isinstance(m, dict) and m.get("role") == "assistant"]
        if all(type(m.get("weight")) is int and m["weight"] == 0 for m in answers):
            say("weight_zero_everywhere", "$.messages", f"{plural(len(answers), 'answer')}, all of weight 0.")
    _check_opening(roles, "$.messages", say)


def _check_opening(roles: list[Any], path: str, say: Say) -> None:
    if "system" not in roles and "developer" not in roles:
        say("no_system_message", path, NO_SYSTEM)
    if "user" not in roles:
        say("no_user_message", path, "No message of role 'user'.")


def _check_preference(line: dict[str, Any], say: Say) -> None:
    given = line.get("input")
    messages = given.get("messages") if isinstance(given, dict) else None
    tools: set[str] | None = None
    _check_keys(line, _PREFERENCE_KEYS, "$", say)
    if not isinstance(given, dict) or not is_messages(messages):
        at = "$.input.messages" if isinstance(given, dict) else "$.input"
        say("missing_input", at, f"`{at[2:]}` is missing or empty.{_instead(line, 'preference')}")
    else:
        _check_keys(given, CHAT_KEYS, "$.input", say)
        tools = check_tools(given, "$.input", say)
        check_messages(messages, "$.input.messages", say, tools)
        _check_no_images(messages, "$.input.messages", say)
        roles = [m.get("role") if isinstance(m, dict) else None for m in messages]
        if roles[-1] not in ("user", "tool", "function"):
            say("input_not_open", f"$.input.messages[{len(roles) - 1}]", f"The last role is {shown(roles[-1])}.")
        _check_opening(roles, "$.input.messages", say)
    outputs = [_check_output(line, names, say, tools) for names in (PREFERRED, NON_PREFERRED)]
    if None not in outputs and outputs[0] == outputs[1]:
        say("identical_outputs", "$", "The preferred and the non-preferred output are the same.")


def _check_no_images(messages: list[Any], path: str, say: Say) -> None:
    for i, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") == "image_url":
                say("image_in_preference", f"{path}[{i}].content[{j}]", "OpenAI trains on text alone by DPO.")


def _check_output(line: dict[str, Any], names: tuple[str, str], say: Say, tools: set[str] | None) -> str | None:
    """Returns the output in a form that can be compared; None if it is no output."""
    name = next((n for n in names if n in line), None)
    if name is None:
        say("missing_output", "$", f"Neither `{names[0]}` nor `{names[1]}`.")
        return None
    output, path = line[name], f"$.{name}"
    if not isinstance(output, list) or len(output) != 1 or not isinstance(output[0], dict):
        say("invalid_output", path, f"Must be a list of one message; this is {shown(output)}.")
        return None
    if output[0].get("role") != "assistant":
        say("invalid_output", f"{path}[0].role", f"Role {shown_member(output[0], 'role')}.")
        return None
    check_messages(output, path, say, tools)
    return json.dumps(output, sort_keys=True)


def _check_reinforcement(line: dict[str, Any], say: Say) -> None:
    tools = check_tools(line, "$", say)
    messages = _messages(line, "reinforcement", say)
    if messages is None:
        return
    check_messages(messages, "$.messages", say, tools)
    last = messages[-1]
    role = last.get("role") if isinstance(last, dict) else None
    if role not in ("user", "developer"):
        say("last_message_not_user", f"$.messages[{len(messages) - 1}]", f"The last role is {shown(role)}.")


def _check_completion(line: dict[str, Any], say: Say) -> None:
    for key, code in (("prompt", "missing_prompt"), ("completion", "missing_completion")):
        text = line.get(key)
        if not isinstance(text, str):
            say(code, f"$.{key}", f"`{key}` is {shown_member(line, key)}.{_instead(line, 'completion')}")
        else:
            check_text(text, f"$.{key}", say)
    prompt = line.get("prompt")
    if isinstance(prompt, str) and not prompt.strip():
        say("empty_prompt", "$.prompt", "The prompt is empty." if not prompt else f"Only {shown(prompt)}.")
    if line.get("completion") == "":
        say("empty_answer", "$.completion", "The completion is empty.")
    _check_keys(line, ("prompt", "completion"), "$", say)


_RULES: dict[Format, Callable[[dict[str, Any], Say], None]] = {
    "chat": _check_chat,
    "preference": _check_preference,
    "reinforcement": _check_reinforcement,
    "completion": _check_completion,
}
