"""Rules for a list of messages, which the chat, preference and reinforcement formats share.

Each rule calls `say(code, path, message)`; none raises, whatever the line holds.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, TypeGuard

from tunehook.dataset.control_tokens import Say, check_text
from tunehook.dataset.findings import shown, shown_member
from tunehook.dataset.tool_calls import check_answered, check_function_call, check_tool_calls

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = frozenset(
    ("role", "content", "name", "weight", "refusal", "tool_calls", "tool_call_id", "function_call")
)
MAX_IMAGES = 10
MAX_IMAGE_BYTES = 10_000_000
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_EMBEDDED = re.compile(r"data:image/(?:jpeg|jpg|png|webp);base64,", re.IGNORECASE)


def is_messages(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value)


def check_messages(messages: list[Any], path: str, say: Say, tools: set[str] | None) -> None:
    """Checks messages. `tools`: the names that the line offers, or None where none can be compared."""
    calls: set[str] = set()
    images = 0
    for i, message in enumerate(messages):
        at = f"{path}[{i}]"
        if not isinstance(message, dict):
            say("data_type", at, f"A message must be an object; this is {shown(message)}.")
            continue
        check_keys(message, at, say)
        role = message.get("role")
        if role == "assistant":
            calls |= check_tool_calls(message.get("tool_calls"), f"{at}.tool_calls", say, tools)
            check_function_call(message.get("function_call"), f"{at}.function_call", say)
        elif role == "tool":
            _check_answer_to_call(message, at, say, calls)
        images += check_content(message, at, say)
    if calls:
        check_answered(messages, path, say)
    if images > MAX_IMAGES:
        say("too_many_images", path, f"{images} images; at most {MAX_IMAGES} in one example.")


def check_keys(message: dict[str, Any], at: str, say: Say) -> None:
    if "role" not in message:
        say("message_missing_key", at, "A message without `role`.")
    role = message.get("role")
    if not (isinstance(role, str) and role in ROLES):
        say("unrecognized_role", f"{at}.role", f"Role {shown_member(message, 'role')}.")
    for key in message:
        if key not in MESSAGE_KEYS:
            say("message_unrecognized_key", at, f"Unknown member {shown(key)}.")
    for key in ("tool_calls", "function_call", "refusal"):
        if message.get(key) is not None and role != "assistant":
            say("message_unrecognized_key", f"{at}.{key}", f"Only an assistant message has `{key}`.")
    name = message.get("name")
    if name is not None and not (isinstance(name, str) and _NAME.match(name)):
        say("invalid_name", f"{at}.name", f"Name {shown(name)}.")
    _check_weight(message, at, say)


def _check_weight(message: dict[str, Any], at: str, say: Say) -> None:
    weight = message.get("weight")
    if weight is None:  # a table export writes null for what a row lacks
        return
    if type(weight) is not int or weight not in (0, 1):
        say("invalid_weight", f"{at}.weight", f"Weight {shown(weight)}.")
    elif message.get("role") != "assistant":
        say("weight_ignored", f"{at}.weight", f"Weight on a message of role {shown_member(message, 'role')}.")


def _check_answer_to_call(message: dict[str, Any], at: str, say: Say, calls: set[str]) -> None:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or not call_id:
        say("message_missing_key", at, "A tool message without `tool_call_id`.")
    elif call_id not in calls:
        say("unknown_tool_call_id", f"{at}.tool_call_id", f"No call before it has the id {shown(call_id)}.")


def check_content(message: dict[str, Any], at: str, say: Say) -> int:
    """Checks the content of a message. Returns its number of images."""
    role, content = message.get("role"), message.get("content")
    answers = role == "assistant"
    if isinstance(message.get("refusal"), str):
        check_text(message["refusal"], f"{at}.refusal", say)
    spoken = answers and any(message.get(key) for key in ("tool_calls", "function_call", "refusal"))
    if content is None:
        if not spoken:
            if "content" not in message:
                say("message_missing_key", at, "A message without `content`.")
            say("missing_content", f"{at}.content", "No content" + (", no tool call." if answers else "."))
    elif isinstance(content, str):
        if not spoken and (not content or content.isspace()):
            say("empty_answer" if answers else "empty_content", f"{at}.content", f"Only {shown(content)}.")
        elif answers and is_shouting(content):
            say("uppercase_answer", f"{at}.content", f"{shown(content)} is all in capitals.")
        check_text(content, f"{at}.content", say)
    elif isinstance(content, list) and content:
        if role == "tool":
            say("tool_result_in_parts", f"{at}.content", f"Content is {shown(content)}.")
        return sum(_check_part(part, f"{at}.content[{i}]", say, role) for i, part in enumerate(content))
    else:
        kind = "an empty list" if content == [] else shown(content)
        say("missing_content", f"{at}.content", f"Content must be a text or a list of parts; this is {kind}.")
    return 0


def is_shouting(answer: str) -> bool:
    """Returns whether a text is all capitals and longer than a label or a code such as YES or ERROR_42."""
    return answer.isupper() and len(answer) >= 20 and " " in answer


def _check_part(part: Any, at: str, say: Say, role: object) -> int:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            say("invalid_content_part", at, "A text part without a `text`.")
        elif not text:
            say("empty_content", f"{at}.text", "An empty text part.")
        else:
            check_text(text, f"{at}.text", say)
    elif kind == "refusal" and role == "assistant" and isinstance(part.get("refusal"), str):
        check_text(part["refusal"], f"{at}.refusal", say)
    elif kind == "image_url":
        if role != "user":
            say("image_in_answer", at, f"An image in a message of role {shown(role)}.")
        _check_image(part, at, say)
        return 1
    else:
        what = f"a part of type {shown_member(part, 'type')}" if isinstance(part, dict) else shown(part)
        say("invalid_content_part", at, f"A part must be text or image_url; this is {what}.")
    return 0


def _check_image(part: dict[str, Any], at: str, say: Say) -> None:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(image, dict) or not isinstance(url, str):
        say("invalid_image", at, 'Write {"type": "image_url", "image_url": {"url": "…"}}.')
        return
    if (image.get("detail") or "auto") not in ("auto", "low", "high"):
        say("invalid_image", f"{at}.image_url.detail", f"Detail {shown(image['detail'])}.")
    embedded = _EMBEDDED.match(url)
    if embedded:
        size = (len(url) - embedded.end()) * 3 // 4
        if not 0 < size <= MAX_IMAGE_BYTES:
            say("invalid_image", f"{at}.image_url.url", f"An embedded image of {size:,} bytes.")
        elif not _is_base64(url[embedded.end() :]):
            say("invalid_image", f"{at}.image_url.url", "What follows `base64,` is not base64.")
    elif not url.lower().startswith("https://"):
        say("invalid_image", f"{at}.image_url.url", f"{shown(url)} is no https URL and no image data URI.")


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one, as is a character that is not ASCII
        return False
    return True
