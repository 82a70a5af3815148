"""Checks of what a base's chat template shows of a row: what it leaves out would be trained as if it had not been."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from trainer.rows import BadRow, Message, forms, parts


class Checks:
    """`special`: tokens that no answer may have in its words. `render`: messages and tools → text."""

    def __init__(self, tokenizer: Any, special: set[int], render: Callable[..., str]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._text = render

    def functions(self, messages: Sequence[Message], tools: Sequence[Message]) -> None:
        """Raises BadRow for a tool, a call or words beside it that the template leaves out.

        Others of the row's words may be the same, so probes are rendered in their place."""
        names: dict[str, str] = {}

        def _probed(found: Message, member: str, what: str) -> Message:
            if not found[member]:
                return found
            probe = f"probe_{len(names)}_of_a_name"
            names[probe] = f"{what} {str(found[member])[:60]!r}"
            return {**found, member: probe}

        probed = [{**tool, "function": _probed(tool["function"], "name", "the tool")} for tool in tools]
        shown = [
            {
                **_probed(message, "content", "the words beside a call,"),
                "tool_calls": [
                    {**call, "function": _probed(call["function"], "name", "the call of")}
                    for call in message["tool_calls"]
                ],
            }
            if message.get("tool_calls")
            else message
            for message in messages
        ]
        if not names:
            return
        try:
            text = self._text(shown, tools=probed or None)
        except Exception as error:  # a template raises what it likes
            raise BadRow(f"the base's chat template refuses it: {error}") from error
        for probe, what in names.items():
            if probe not in text:
                raise BadRow(f"the base's chat template leaves out {what}: it cannot be trained with it")

    def answer(self, where: str, message: Message, text: str, *, trained: bool) -> None:
        """Raises BadRow where what is trained is not what the assistant said."""
        said = [message["content"], message.get("reasoning_content"), message.get("tool_calls")]
        tokens = self._tokenizer.encode(json.dumps(said, ensure_ascii=False), add_special_tokens=False)
        control = next((token for token in tokens if token in self._special), None)
        if control is not None:
            raise BadRow(f"{where} has the control token {self._tokenizer.decode([control])!r} in its words")
        thoughts, words = parts(message)
        if not self._shows(text, words):
            raise BadRow(f"the base's chat template shows the words of {where} elsewhere")
        if trained and not self._shows(text, thoughts):
            raise BadRow(f"the base's chat template leaves out the thoughts of {where}: remove them")
        for call in message.get("tool_calls", ()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            if any(not self._shows(text, one) for one in (name, *arguments)):
                raise BadRow(f"the base's chat template leaves out the call of {name!r} in {where}")

    def _shows(self, text: str, words: str) -> bool:
        """Returns whether a text has these words, as a tokenizer writes them."""
        encoded = (self._tokenizer.encode(form, add_special_tokens=False) for form in forms(words))
        return any(self._tokenizer.decode(form).strip() in text for form in encoded)
