"""Billed tokens of a training file, counted by OpenAI's published recipe.

The cookbook ("How to count tokens with tiktoken"): 3 tokens a message, the encoded text of its values, 1 more for a
name, and 3 an example. Beyond the cookbook: a tool call is its function's name and arguments and 3 tokens; tool
definitions are their compact JSON; an image is 85 tokens at detail low, else 765. Text after an example's limit is
neither trained nor billed.
"""

import itertools
import json
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

from splintr import Tokenizer

from wire.dataset import OUTPUTS

# 8 MB are counted in 2 to 3 s. The rest of a larger file is billed at the same number of bytes a token.
EXACT_BYTES = 8_000_000
_OLDER = ("gpt-3.5", "gpt-4-", "babbage-002", "davinci-002")
_ONE_AT_A_TIME = threading.Lock()  # a tokenizer keeps words that it has seen, and they are cleared after each file


@cache
def _tokenizer(encoding: str) -> Any:
    return Tokenizer.from_pretrained(encoding)


def _is_older(base: str) -> bool:
    return base == "gpt-4" or base.startswith(_OLDER)


def _limit(base: str) -> int:
    if not _is_older(base) or base.startswith("gpt-4"):
        return 65_536
    return 4_096 if base.endswith("0613") else 16_385


def billed(lines: Iterable[bytes], base: str, kind: str, *, exact: int = EXACT_BYTES) -> int:
    """Returns the tokens of one epoch, counted in the first `exact` bytes.

    `base` is the untuned model, `kind` is one of `examples.KINDS`.
    """
    with _ONE_AT_A_TIME:
        tokenizer = _tokenizer("cl100k_base" if _is_older(base) else "o200k_base")
        counter, limit = _Counter(tokenizer), _limit(base)
        total = read = 0
        rest = iter(lines)
        for raw in rest:
            read += len(raw)
            total += min(limit, counter.example(_parsed(raw), kind))
            if read >= exact:
                break
        tokenizer.clear_cache()
    left = sum(map(len, rest))
    return total + total * left // max(1, read)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        example = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return example if isinstance(example, dict) else {}


def _objects(value: object) -> Iterable[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


class _Counter:
    def __init__(self, tokenizer: Any) -> None:
        self._encode = tokenizer.encode_ordinary

    def example(self, example: dict[str, Any], kind: str) -> int:
        """Returns the tokens of one example; 0 for a blank line."""
        if not example:
            return 0
        if kind == "completion":
            return self._text(example.get("prompt")) + self._text(example.get("completion"))
        if kind != "preference":
            return self._conversation(example)
        given = example.get("input")
        outputs = (example.get(name, example.get(older)) for name, older in OUTPUTS)
        told = itertools.chain.from_iterable(map(_objects, outputs))
        return self._conversation(given if isinstance(given, dict) else {}) + sum(map(self._message, told))

    def _conversation(self, given: dict[str, Any]) -> int:
        tools = (given[name] for name in ("tools", "functions") if given.get(name))
        packed = (json.dumps(tool, ensure_ascii=False, separators=(",", ":")) for tool in tools)
        return 3 + sum(map(self._message, _objects(given.get("messages")))) + sum(map(self._text, packed))

    def _message(self, message: dict[str, Any]) -> int:
        total = 3 + sum(self._text(message.get(name)) for name in ("role", "content", "refusal", "tool_call_id"))
        if isinstance(message.get("name"), str):
            total += self._text(message["name"]) + 1
        total += sum(map(self._part, _objects(message.get("content"))))
        calls = [call.get("function") for call in _objects(message.get("tool_calls"))]
        for call in _objects([*calls, message.get("function_call")]):
            total += 3 + self._text(call.get("name")) + self._text(call.get("arguments"))
        return total

    def _part(self, part: dict[str, Any]) -> int:
        if part.get("type") == "image_url":
            image = part.get("image_url")
            return 85 if isinstance(image, dict) and image.get("detail") == "low" else 765
        return self._text(part.get("text")) + self._text(part.get("refusal"))

    def _text(self, text: object) -> int:
        return len(self._encode(text)) if isinstance(text, str) else 0
