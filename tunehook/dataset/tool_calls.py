"""Rules for tools and calls to them."""

from __future__ import annotations

import json
import re
from typing import Any

from tunehook.dataset.control_tokens import Say, check_text
from tunehook.dataset.findings import shown, shown_member

MAX_TOOLS = 128  # as the API's description of a line says
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def check_tools(line: dict[str, Any], path: str, say: Say) -> set[str] | None:
    """Checks the tools of a line. Returns their names; None if there are none, or none that is readable."""
    names: set[str] = set()
    if line.get("functions") is not None:
        say("deprecated_functions", f"{path}.functions", "`functions` is the old way.")
    for i, function in enumerate(_listed(line, "functions", path, say)):
        _check_function(function, f"{path}.functions[{i}]", say, names)
    parallel = line.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        say("data_type", f"{path}.parallel_tool_calls", f"Must be true or false; this is {shown(parallel)}.")
    for i, tool in enumerate(_listed(line, "tools", path, say)):
        at = f"{path}.tools[{i}]"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            say("invalid_tool", at, f"A tool must be an object of type 'function'; this is {shown(tool)}.")
        else:
            _check_function(tool.get("function"), f"{at}.function", say, names)
    tools = line.get("tools")
    return names if isinstance(tools, list) or (tools is None and names) else None


def _listed(line: dict[str, Any], key: str, path: str, say: Say) -> list[Any]:
    """Returns the line's `tools` or `functions`; none if it has none, or something else than a list."""
    given = line.get(key)
    if given is not None and not isinstance(given, list):
        say("data_type", f"{path}.{key}", f"`{key}` must be a list; this is {shown(given)}.")
    if not isinstance(given, list):
        return []
    if len(given) > MAX_TOOLS:
        say("too_many_tools", f"{path}.{key}", f"{len(given)} tools; at most {MAX_TOOLS} in one example.")
    return given


def _check_function(function: Any, at: str, say: Say, names: set[str]) -> None:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not _FUNCTION_NAME.match(name):
        told = shown_member(function, "name") if isinstance(function, dict) else "missing"
        say("invalid_tool", f"{at}.name", f"Name {told} is not 1 to 64 of a-z, A-Z, 0-9, _ and -.")
    elif not isinstance(function.get("parameters", {}), dict):
        say("invalid_tool", f"{at}.parameters", "`parameters` must be a JSON Schema object.")
    elif name in names:
        say("duplicate_tool", f"{at}.name", f"{shown(name)} is the name of a tool before it.")
    else:
        names.add(name)


def check_tool_calls(calls: Any, path: str, say: Say, tools: set[str] | None) -> set[str]:
    """Checks the calls of a message. Returns their ids, which tool messages may answer."""
    ids: set[str] = set()
    if calls is None:
        return ids
    if not isinstance(calls, list) or not calls:
        say("invalid_tool_call", path, f"`tool_calls` must be a non-empty list; this is {shown(calls)}.")
        return ids
    for i, call in enumerate(calls):
        at = f"{path}[{i}]"
        if not isinstance(call, dict) or call.get("type") != "function":
            say("invalid_tool_call", at, f"A call must be an object of type 'function'; this is {shown(call)}.")
            continue
        call_id = call.get("id")
        if isinstance(call_id, str) and call_id:
            ids.add(call_id)
        else:
            say("invalid_tool_call", f"{at}.id", "A call without an id.")
        name = _check_called(call.get("function"), f"{at}.function", say)
        if name is not None and tools is not None and name not in tools:
            say("unknown_tool", f"{at}.function.name", f"`tools` does not list {shown(name)}.")
        if name is not None and tools is None:
            say("unknown_tool", f"{at}.function.name", f"{shown(name)} is called, but the line has no `tools`.")
    return ids


def check_function_call(call: Any, path: str, say: Say) -> None:
    if call is not None:
        say("deprecated_functions", path, "`function_call` is the old way.")
        _check_called(call, path, say)


def _check_called(function: Any, at: str, say: Say) -> str | None:
    if not isinstance(function, dict):
        say("invalid_tool_call", at, f"Must be an object with name and arguments; this is {shown(function)}.")
        return None
    arguments, name = function.get("arguments"), function.get("name")
    if not isinstance(arguments, str):
        say(
            "invalid_tool_call",
            f"{at}.arguments",
            f"Must be JSON as a string; this is {shown_member(function, 'arguments')}.",
        )
    else:
        _check_arguments(arguments, f"{at}.arguments", say)
        check_text(arguments, f"{at}.arguments", say)
    if not isinstance(name, str) or not name:
        say("invalid_tool_call", f"{at}.name", f"Name {shown_member(function, 'name')}.")
        return None
    return name


def _check_arguments(arguments: str, at: str, say: Say) -> None:
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        say("arguments_not_json", at, f"{shown(arguments)} is not JSON.")
        return
    if isinstance(value, str):
        say("arguments_doubly_encoded", at, f"{shown(arguments)} is JSON inside JSON.")
    elif not isinstance(value, dict):
        say("arguments_not_json", at, f"{shown(arguments)} is not a JSON object.")


def check_answered(messages: list[Any], path: str, say: Say) -> None:
    """Each call has its tool message before the next turn; a call in the last message needs none."""
    waiting: dict[str, int] = {}  # the id of a call → the message that makes it
    last = len(messages) - 1
    for i, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role == "tool":
            answered = message.get("tool_call_id")
            if isinstance(answered, str):
                waiting.pop(answered, None)
        else:
            _say_waiting(waiting, path, say)
            calls = message.get("tool_calls") if role == "assistant" and i < last else None
            ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
            waiting = {call_id: i for call_id in ids if isinstance(call_id, str) and call_id}
    _say_waiting(waiting, path, say)


def _say_waiting(waiting: dict[str, int], path: str, say: Say) -> None:
    for call_id, i in waiting.items():
        told = f"No `tool` message right after it answers {shown(call_id)}."
        say("unanswered_tool_call", f"{path}[{i}].tool_calls", told)
