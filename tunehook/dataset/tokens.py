"""Tokens: counts them offline with the model's own encoding.

Per message 3, plus the encoded values, plus 1 for a name; 3 per example (OpenAI's cookbook). By rules of our own, where
the cookbook has none: a tool call, its function's name and arguments encoded, plus 3; `tools` and `functions`, their
compact JSON encoded; an image 85 tokens at detail low, otherwise 765 (one of 1024 × 1024 on gpt-4o: 85 + 4 × 170).

splintr carries the vocabularies in its wheel. It agreed with tiktoken on 30,033 cases for each of both encodings, at
four times its speed or more; tests/dataset/token_counts.json holds counts that tiktoken gave.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any, Literal

from splintr import Tokenizer

from tunehook.dataset.formats import NON_PREFERRED, PREFERRED, Format

Encoding = Literal["o200k_base", "cl100k_base"]
_OLDER = ("gpt-3.5", "gpt-35", "gpt-4-", "babbage-002", "davinci-002")
# A run of one letter takes more than linear time. A text this long is cut at the limit anyway, so that a token too many
# at each seam changes no bill.
_LONG, _PIECE = 1_000_000, 50_000
# splintr remembers words it has seen, without a limit that we could find: 3 bytes a character where they are long.
_CLEAR = 8_000_000
IMAGE_LOW, IMAGE_HIGH = 85, 765
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def base_model(model: str) -> str:
    """Returns the base of a tuned model: gpt-4o-mini-2024-07-18 of ft:gpt-4o-mini-2024-07-18:org::id."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model.partition(".ft-")[0]  # Azure's way: gpt-4.1-mini-2025-04-14.ft-<id>


def encoding_of(model: str) -> Encoding:
    """Returns cl100k_base for gpt-3.5 and gpt-4, o200k_base for gpt-4o, gpt-4.1 and all later ones."""
    base = base_model(model)
    return "cl100k_base" if base == "gpt-4" or base.startswith(_OLDER) else "o200k_base"


def token_limit(model: str) -> int:
    """Returns how many tokens of one example are trained on; longer ones are cut."""
    base = base_model(model)
    if base.startswith(("gpt-3.5", "gpt-35", "babbage-002", "davinci-002")):
        return 4_096 if base.endswith("0613") else 16_385
    return 65_536


@cache
def _tokenizer(encoding: Encoding) -> Any:
    return Tokenizer.from_pretrained(encoding)


def preload() -> None:
    """Reads the vocabulary of current models (0.3 s, 80 MiB), for processes that are forked from this one."""
    _tokenizer("o200k_base")


class TokenCounter:
    """Counts the tokens of lines; exact without tools and images, up to 1,000,000 characters a text."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        tokenizer = _tokenizer(encoding)
        # Flat is half as fast again, but would read "<|endoftext|>" in a text as the one token it is not.
        self._clear, self._since = tokenizer.clear_cache, 0
        self._flat, self._ordinary = tokenizer.encode_flat, tokenizer.encode_ordinary
        self.short = lru_cache(256)(self.count)  # for roles, of which there are six, and for tools

    def count(self, text: str) -> int:
        self._since += len(text)
        if self._since > _CLEAR:
            self._since = 0
            self._clear()
        if len(text) > _LONG:
            return sum(self.count(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE))
        return len(self._ordinary(text)) if "<|" in text else len(self._flat(text)) // 4

    def plain(self, messages: list[dict[str, str]]) -> tuple[int, int]:
        """Returns the tokens of an example whose messages have only role and content, and of its answers."""
        total, answers = 3 + 3 * len(messages), 0
        for message in messages:
            role = message["role"]
            n = self.count(message["content"])
            total += n + self.short(role)
            if role == "assistant":
                answers += n
        return total, answers

    def line(self, line: Any, form: Format) -> tuple[int, int]:
        """Returns the tokens of a parsed line of any shape, and of its answers. Never raises."""
        if not isinstance(line, dict):
            return 0, 0
        if form == "completion":
            prompt, answer = (self._text(line.get(key)) for key in ("prompt", "completion"))
            return prompt + answer, answer
        if form != "preference":
            total, answers = self._messages(line.get("messages"))
            return total + 3 + self._tools(line), answers
        given = line.get("input")
        given = given if isinstance(given, dict) else {}
        total = self._messages(given.get("messages"))[0] + 3 + self._tools(given)
        answers = 0
        for names in (PREFERRED, NON_PREFERRED):
            output = next((line[name] for name in names if name in line), None)
            tokens, spoken = self._messages(output)
            total, answers = total + tokens, answers + spoken
        return total, answers

    def before_answers(self, line: Any, form: Format) -> int | None:
        """Tokens before the first answer that is learnt; None where there is none. `line` was found good."""
        if form == "completion":
            return self._text(line["prompt"])
        if form == "preference":
            return self._messages(line["input"]["messages"])[0] + 3 + self._tools(line["input"])
        learnt = (i for i, message in enumerate(line["messages"]) if _is_learnt(message))
        first = next(learnt, None) if form == "chat" else None
        return None if first is None else self._messages(line["messages"][:first])[0] + 3 + self._tools(line)

    def _messages(self, messages: Any) -> tuple[int, int]:
        total = answers = 0
        for message in messages if isinstance(messages, list) else ():
            if not isinstance(message, dict):
                continue
            content = self._content(message.get("content")) + self._text(message.get("refusal"))
            content += self._call(message.get("function_call"))
            calls = message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                content += self._call(call.get("function") if isinstance(call, dict) else None)
            total += 3 + content + self._text(message.get("role")) + self._text(message.get("tool_call_id"))
            if isinstance(message.get("name"), str):
                total += self._text(message["name"]) + 1
            if message.get("role") == "assistant":
                answers += content
        return total, answers

    def _content(self, content: Any) -> int:
        if not isinstance(content, list):
            return self._text(content)
        total = 0
        for part in content:
            if isinstance(part, dict) and part.get("type") == "image_url":
                image = part.get("image_url")
                low = isinstance(image, dict) and image.get("detail") == "low"
                total += IMAGE_LOW if low else IMAGE_HIGH
            elif isinstance(part, dict):
                total += self._text(part.get("text")) + self._text(part.get("refusal"))
        return total

    def _call(self, function: Any) -> int:
        if not isinstance(function, dict):
            return 0
        return 3 + self._text(function.get("name")) + self._text(function.get("arguments"))

    def _tools(self, line: dict[str, Any]) -> int:
        given = [line[key] for key in ("tools", "functions") if line.get(key)]
        packed = (_compact(one) for one in given)
        # Most files have the same tools in every line.
        return sum(self.short(text) if len(text) < 10_000 else self.count(text) for text in packed)

    def _text(self, text: Any) -> int:
        return self.count(text) if isinstance(text, str) else 0


def _is_learnt(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and message.get("weight") != 0
