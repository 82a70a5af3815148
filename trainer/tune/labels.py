"""Labels: a row as token ids, and which of them are trained. They are made here, not by TRL: it knows no weights.

A trained stretch begins where a server's prompt ends, and ends with the end-of-turn token: what the model itself is to
say, and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from trainer.rows import BadRow, Message, cleaned, is_trained, tools_of
from trainer.templates import Untrainable, chat_template, training_template

#: The label of a token that is not trained.
IGNORED = -100
_GREETING = [{"role": "user", "content": "x"}]


@dataclass(frozen=True)
class Encoded:
    """Token ids, and the stretch (first, end) of each message of the assistant, in order."""

    ids: list[int]
    answers: list[tuple[int, int]]


class Encoder:
    """Turns rows into tokens by the training template of a base. `longest`: tokens of an example; the rest is cut."""

    def __init__(self, base: Path, longest: int | None = None) -> None:
        """Raises Untrainable."""
        self._template = training_template(base)
        self._longest = longest
        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        added = self.tokenizer.added_tokens_decoder
        self._special = {*self.tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        self._control = {*self._special, *added}
        self._check_prompt(chat_template(base))
        plain, prompt = (self._ids(_GREETING, add_generation_prompt=ask) for ask in (False, True))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(plain, prompt, strict=False))
        self._prompt_end = prompt[len(list(same)) :]

    def supervised(self, row: Mapping[str, Any]) -> dict[str, list[int]]:
        """Returns `input_ids` and `labels` of a row of messages. Raises BadRow."""
        trained = [is_trained(message) for message in row["messages"] if message["role"] == "assistant"]
        encoded = self._encoded(row["messages"], tools_of(row), trained)
        labels = [IGNORED] * len(encoded.ids)
        for counts, (first, end) in zip(trained, encoded.answers, strict=True):
            if counts:
                labels[first:end] = encoded.ids[first:end]
        return {"input_ids": encoded.ids[: self._longest], "labels": labels[: self._longest]}

    def preference(self, row: Mapping[str, Any]) -> dict[str, list[int]]:
        """Returns `prompt_ids`, `chosen_ids` and `rejected_ids` of a row of preferences. Raises BadRow."""
        given = row["input"]
        if row.get("tools") or row.get("functions"):
            raise BadRow("its tools stand beside its input: put them into the input")
        earlier = [False for message in given["messages"] if message["role"] == "assistant"]
        prompts, found = [], {}
        for name, members in (
            ("chosen_ids", ("preferred_output", "preferred_completion")),
            ("rejected_ids", ("non_preferred_output", "non_preferred_completion")),
        ):
            output = row.get(members[0]) or row.get(members[1]) or []
            if [message["role"] for message in output] != ["assistant"]:
                raise BadRow(f"its {members[0]} is not one message of the assistant")
            encoded = self._encoded([*given["messages"], *output], tools_of(given), [*earlier, True])
            first, end = encoded.answers[-1]
            prompts.append(encoded.ids[:first])
            found[name] = encoded.ids[first:end]
        if prompts[0] != prompts[1]:
            raise BadRow("the base's chat template renders the input differently before the two outputs")
        room = None if self._longest is None else max(0, self._longest - len(prompts[0]))
        return {"prompt_ids": prompts[0], **{name: ids[:room] for name, ids in found.items()}}

    def _check_prompt(self, own: str) -> None:
        """Raises Untrainable where an answer is not trained behind the prompt that a server makes of the template."""
        try:
            prompt = self._text(_GREETING, chat_template=own, add_generation_prompt=True)
            answered = self._text([*_GREETING, {"role": "assistant", "content": "y"}])
        except Exception:  # a template raises what it likes, and will for each row
            return
        if not answered.startswith(prompt):
            words = f"A server's prompt for this base ends with {prompt[-20:]!r}, and its training form writes no such."
            raise Untrainable(f"{words} It would be trained for a prompt that it is never given. Train another base.")

    def _text(self, messages: Sequence[Message], **options: Any) -> str:
        rendered = {"chat_template": self._template, **options}
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **rendered))

    def _ids(self, messages: Sequence[Message], **options: Any) -> list[int]:
        found = self.tokenizer.apply_chat_template(
            messages, chat_template=self._template, tokenize=True, return_dict=True, **options
        )
        return list(found["input_ids"])

    def _encoded(
        self, given: Sequence[Mapping[str, Any]], tools: list[Message] | None, trained: Sequence[bool]
    ) -> Encoded:
        """Returns messages as tokens. `trained`: of each of the assistant, in order. Raises BadRow."""
        messages = cleaned(given, self._template)
        try:
            found = self.tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=self._template,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            text = self._text(messages, tools=tools)
        except Exception as error:  # a template raises what it likes
            is_bare = any(not tool["function"].get("description") for tool in tools or ())
            hint = " (it may need a description of each tool)" if is_bare else ""
            raise BadRow(f"the base's chat template refuses it: {error}{hint}") from error
        _check_complete(messages, text)
        self._check_functions(messages, tools or ())
        ids = list(found["input_ids"])
        stretches = [self._trimmed(ids, *stretch) for stretch in _runs(found["assistant_masks"])]
        answers = [message for message in messages if message["role"] == "assistant"]
        if len(stretches) != len(answers):
            shown = f"{len(stretches)} of its {len(answers)} messages of the assistant"
            raise BadRow(f"the base's chat template shows {shown}")
        for message, counts, (first, end) in zip(answers, trained, stretches, strict=True):
            self._check_answer(message, self.tokenizer.decode(ids[first:end]), trained=counts)
            joined = ids[max(0, first - len(self._prompt_end)) : first] != self._prompt_end
            if joined and self._prompt_end and str(message["content"])[:1].isspace():
                raise BadRow("an answer begins with blanks that the tokenizer joins with the prompt: leave them out")
        return Encoded(ids, stretches)

    def _check_functions(self, messages: Sequence[Message], tools: Sequence[Message]) -> None:
        """Raises BadRow for a tool or call that the template leaves out. Words may name it too: probes are rendered."""
        names: dict[str, str] = {}

        def _probe(function: Message, what: str) -> Message:
            probe = f"probe_{len(names)}_of_a_name"
            names[probe] = f"the {what} {str(function['name'])!r}"
            return {**function, "name": probe}

        probed = [{**tool, "function": _probe(tool["function"], "tool")} for tool in tools]
        shown = [
            {
                **message,
                "tool_calls": [
                    {**call, "function": _probe(call["function"], "call of")} for call in message["tool_calls"]
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

    def _check_answer(self, message: Message, text: str, *, trained: bool) -> None:
        """Raises BadRow where what is trained is not what the assistant said."""
        said = [message["content"], message.get("reasoning_content"), message.get("tool_calls")]
        tokens = self.tokenizer.encode(json.dumps(said, ensure_ascii=False), add_special_tokens=False)
        control = next((token for token in tokens if token in self._special), None)
        if control is not None:
            raise BadRow(f"an answer has the control token {self.tokenizer.decode([control])!r} in its words")
        thoughts, words = _parts(message)
        if not self._shows(text, words):
            raise BadRow("the base's chat template shows a message of the assistant elsewhere")
        if trained and not self._shows(text, thoughts):
            raise BadRow("the base's chat template leaves out the thoughts of a trained answer: remove them")
        for call in message.get("tool_calls", ()):
            if any(name not in text for name in (call["function"]["name"], *call["function"]["arguments"])):
                raise BadRow(f"the base's chat template leaves out the call of {call['function']['name']!r}")

    def _shows(self, text: str, words: str) -> bool:
        """Returns whether a text has these words, as a tokenizer writes them."""
        forms = (self.tokenizer.encode(form, add_special_tokens=False) for form in _forms(words))
        return any(self.tokenizer.decode(form) in text for form in forms)

    def _trimmed(self, ids: list[int], first: int, end: int) -> tuple[int, int]:
        """Returns a stretch without what a server's prompt has already, and without blanks after the end of turn."""
        prompt = self._prompt_end
        for start in range(max(0, first - len(prompt)), first + 1):
            if prompt and ids[start : start + len(prompt)] == prompt:
                first = max(first, start + len(prompt))
        last = end
        while last > first and ids[last - 1] not in self._control and not self.tokenizer.decode(ids[last - 1]).strip():
            last -= 1
        if last == first or ids[last - 1] not in self._control:
            raise BadRow("the base's chat template marks no end of turn: the model would not learn to stop")
        return first, last


def _runs(mask: Sequence[int]) -> list[tuple[int, int]]:
    """Returns (first, end) of each run of ones."""
    found, first = [], None
    for index, marked in enumerate([*mask, 0]):
        if marked and first is None:
            first = index
        elif not marked and first is not None:
            found.append((first, index))
            first = None
    return found


def _check_complete(messages: Sequence[Message], text: str) -> None:
    """Raises BadRow for what a template leaves out: it would be trained as if it had not been there."""
    start = 0
    for number, message in enumerate(messages, start=1):
        forms = _forms(_parts(message)[1])
        ends = [place + len(words) for words in forms if (place := text.find(words, start)) >= 0]
        if not ends:
            raise BadRow(f"the base's chat template leaves out message {number} (role {message['role']!r})")
        start = min(ends)


def _parts(message: Message) -> tuple[str, str]:
    """Returns the thoughts and the words of a message. Templates leave out earlier thoughts."""
    thoughts, words = str(message.get("reasoning_content", "")), str(message["content"]).strip()
    if message["role"] == "assistant" and words.startswith("<think>"):
        thoughts, _, words = words.removeprefix("<think>").partition("</think>")
    return thoughts.strip(), words.strip()


def _forms(words: str) -> tuple[str, str]:
    """Returns words as templates write them: plain, or as JSON."""
    return words, json.dumps(words, ensure_ascii=False)[1:-1]
