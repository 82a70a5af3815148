"""Rows: a line of OpenAI's training file as messages that a chat template renders rightly.  (pure)

Templates differ from OpenAI's format where it hurts silently: tool arguments are an object, not JSON text; content is
a string, never null or parts; most know no developer and none the older functions.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

Message = dict[str, Any]

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_DEVELOPER = re.compile(r"""["']developer["']""")
#: transformers gives a template both names.
_THOUGHTS = re.compile(r"reasoning_content|message\.thinking|message\[.thinking")


class BadRow(Exception):
    """An example that cannot be trained as it is meant. The message says where and why."""


def cleaned(messages: Sequence[Mapping[str, Any]], template: str) -> list[Message]:
    """Returns messages as a chat template takes them. Raises BadRow. Use it for training and for chats alike."""
    known = _COMMENT.sub("", template)
    found = [_message(message, f"message {number}") for number, message in enumerate(messages, start=1)]
    for message in found:
        if message["role"] == "developer" and not _DEVELOPER.search(known):  # most drop such a message without a word
            message["role"] = "system"
        if message["role"] == "assistant" and _THOUGHTS.search(known):
            _part_thoughts(message)
    return _in_order(found)


def _part_thoughts(message: Message) -> None:
    """Moves <think>…</think> at the beginning of an answer to `reasoning_content`: some templates look only there."""
    thoughts, end, words = message["content"].lstrip().partition("</think>")
    if end and thoughts.startswith("<think>") and "reasoning_content" not in message:
        message |= {"reasoning_content": thoughts.removeprefix("<think>").strip("\n"), "content": words.lstrip("\n")}


def _in_order(messages: list[Message]) -> list[Message]:
    """Returns messages with the results of parallel calls in the order of the calls: most templates show no ids."""
    found: list[Message] = []
    calls: list[object] = []
    for is_result, run in groupby(messages, lambda message: bool(message["role"] == "tool")):
        some = list(run)
        if not is_result:
            calls = [call.get("id") for call in some[-1].get("tool_calls", ())]
        elif len(calls) > 1:
            ids = [message.get("tool_call_id") for message in some]
            if len(ids) != len(calls) or set(ids) != set(calls):
                where = f"message {len(found) + 1}"
                raise BadRow(f"{where}: give each of the {len(calls)} calls before it one result, by its tool_call_id")
            some.sort(key=lambda message: calls.index(message.get("tool_call_id")))
        found += some
    return found


def as_sent(message: Message) -> Message:
    """Returns a cleaned message as OpenAI's API takes it: the arguments of a tool call are JSON text."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def tools_of(row: Mapping[str, Any]) -> list[Message] | None:
    """Returns a row's tools; the older `functions` become such. None: it has none. Raises BadRow."""
    if row.get("tools") and row.get("functions"):
        raise BadRow("it has tools and functions: keep the tools")
    tools = row.get("tools") or [{"type": "function", "function": one} for one in row.get("functions") or ()]
    for number, tool in enumerate(tools, start=1):
        if tool.get("type", "function") != "function":
            raise BadRow(f"tool {number} is of type {tool['type']!r}: only functions can be trained here")
        if not isinstance(tool.get("function"), dict) or "name" not in tool["function"]:
            raise BadRow(f"tool {number} has no member 'function' with a name")
    return list(tools) or None


def is_trained(message: Mapping[str, Any]) -> bool:
    """Returns whether a message of the assistant counts: unless its weight is 0."""
    return bool(message.get("weight") != 0)


def check_complete(messages: Sequence[Message], text: str) -> None:
    """Raises BadRow for what a template leaves out: it would be trained as if it had not been there."""
    start = 0
    for number, message in enumerate(messages, start=1):
        written = forms(parts(message)[1])
        ends = [place + len(words) for words in written if (place := text.find(words, start)) >= 0]
        if not ends:
            raise BadRow(f"the base's chat template leaves out message {number} (role {message['role']!r})")
        start = min(ends)


def parts(message: Message) -> tuple[str, str]:
    """Returns the thoughts and the words of a message. Templates leave out earlier thoughts."""
    thoughts, words = str(message.get("reasoning_content", "")), str(message["content"]).strip()
    if message["role"] == "assistant" and words.startswith("<think>"):
        thoughts, _, words = words.removeprefix("<think>").partition("</think>")
    return thoughts.strip(), words.strip()


def forms(words: str) -> tuple[str, str]:
    """Returns words as templates write them: plain, or as JSON."""
    return words, json.dumps(words, ensure_ascii=False)[1:-1]


def _message(message: Mapping[str, Any], where: str) -> Message:
    role = message["role"]
    if message.get("weight") not in (None, 0, 1):
        raise BadRow(f"{where}: its weight is 0 or 1, not {message['weight']!r}")
    if message.get("audio"):
        raise BadRow(f"{where} has audio: only text can be trained here")
    found: Message = {"role": role, "content": _text(message, where)}
    if any("\ud800" <= letter <= "\udfff" for letter in found["content"]):
        raise BadRow(f"{where} has half a character, a lone surrogate: remove it")
    if role == "function":
        found["role"] = "tool"
    for member in ("name", "tool_call_id", "reasoning_content"):
        if message.get(member) is not None:
            found[member] = message[member]
    calls = message.get("tool_calls") or []
    if message.get("function_call"):
        if calls:
            raise BadRow(f"{where} has tool_calls and a function_call: keep the tool_calls")
        calls = [{"type": "function", "function": message["function_call"]}]
    if calls:
        found["tool_calls"] = [_call(call, f"{where}, tool call {number}") for number, call in enumerate(calls, 1)]
    return found


def _text(message: Mapping[str, Any], where: str) -> str:
    content, refusal = message.get("content"), message.get("refusal")
    if content and refusal:
        raise BadRow(f"{where} has content and a refusal: keep what the assistant is to say")
    content = content or refusal or ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        kind = part.get("type")
        if kind not in {"text", "refusal"}:
            raise BadRow(f"{where} has content of type {kind!r}: only text can be trained here")
        texts.append(part[kind])
    return "\n".join(texts)


def _call(call: Mapping[str, Any], where: str) -> Message:
    if call.get("type", "function") != "function":
        raise BadRow(f"{where} is of type {call['type']!r}: only functions can be trained here")
    function = call["function"]
    given = function.get("arguments") or "{}"
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
        json.dumps(arguments, allow_nan=False)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRow(f"{where}: the arguments are not a JSON object")
    found: Message = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    if call.get("id") is not None:
        found["id"] = call["id"]
    return found
