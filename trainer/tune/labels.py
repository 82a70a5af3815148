"""Labels: a row as token ids, and which of them are trained. They are made here, not by TRL: it knows no weights.

A trained stretch begins where a server's prompt ends, and ends with the end-of-turn token: what the model itself is to
say, and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from trainer.rows import BadRow, Message, check_complete, cleaned, is_trained, tools_of
from trainer.templates import Untrainable, chat_template, training_template
from trainer.tune.shown import Checks
from wire.dataset import OUTPUTS

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
        self._template, self._own = training_template(base), chat_template(base)
        self.longest = longest
        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        added = self.tokenizer.added_tokens_decoder
        special = {*self.tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        self._control = {*special, *added}
        self._checks = Checks(self.tokenizer, special, self._text)
        #: What a server adds to messages to ask for an answer, as text and as tokens.
        self._asking, self._asking_ids = self._prompt_end()

    def supervised(self, row: Mapping[str, Any]) -> dict[str, list[int]]:
        """Returns `input_ids` and `labels` of a row of messages. Raises BadRow."""
        trained = [is_trained(message) for message in row["messages"] if message["role"] == "assistant"]
        encoded = self._encoded(row["messages"], tools_of(row), trained)
        labels = [IGNORED] * len(encoded.ids)
        for counts, (first, end) in zip(trained, encoded.answers, strict=True):
            if counts:
                labels[first:end] = encoded.ids[first:end]
        return {"input_ids": encoded.ids[: self.longest], "labels": labels[: self.longest]}

    def preference(self, row: Mapping[str, Any]) -> dict[str, list[int]]:
        """Returns `prompt_ids`, `chosen_ids` and `rejected_ids` of a row of preferences. Raises BadRow."""
        given = row["input"]
        if row.get("tools") or row.get("functions"):
            raise BadRow("its tools stand beside its input: put them into the input")
        earlier = [False for message in given["messages"] if message["role"] == "assistant"]
        outputs = []
        for name, older in OUTPUTS:
            output = row.get(name) or row.get(older) or []
            if [message["role"] for message in output] != ["assistant"]:
                raise BadRow(f"its {name} is not one message of the assistant")
            outputs.append([*given["messages"], *output])
        for apart in (False, True):  # one of the two may have been read apart from its prompt
            pair = [self._encoded(one, tools_of(given), [*earlier, True], apart=apart) for one in outputs]
            prompt, other = (encoded.ids[: encoded.answers[-1][0]] for encoded in pair)
            if prompt == other:
                break
        else:
            raise BadRow("the base's chat template renders the input differently before the two outputs")
        chosen, rejected = (encoded.ids[slice(*encoded.answers[-1])] for encoded in pair)
        room = None if self.longest is None else max(0, self.longest - len(prompt))
        return {"prompt_ids": prompt, "chosen_ids": chosen[:room], "rejected_ids": rejected[:room]}

    def end_of_turn(self) -> int | None:
        """Returns the token that ends an answer; None: the template refuses a plain chat."""
        try:
            encoded = self._encoded([*_GREETING, {"role": "assistant", "content": "y"}], None, [True])
        except BadRow:
            return None
        return encoded.ids[encoded.answers[-1][1] - 1]

    def prompt(self, row: Mapping[str, Any]) -> str:
        """Returns what a server would make of a row that ends before its answer. Raises BadRow."""
        if row.get("tools") or row.get("functions"):
            raise BadRow("it has tools, and an answer that calls one cannot be rewarded here: leave them out")
        messages = cleaned(row["messages"], self._own)
        try:
            text = self._text(messages, chat_template=self._own, add_generation_prompt=True)
        except Exception as error:  # a template raises what it likes
            raise BadRow(f"the base's chat template refuses it: {error}") from error
        check_complete(messages, text)
        return text

    def _prompt_end(self) -> tuple[str, list[int]]:
        """Returns how a server's prompt ends. Raises Untrainable where no answer is trained behind such an end."""
        try:
            plain, prompt = (
                self._text(_GREETING, chat_template=self._own, add_generation_prompt=ask) for ask in (0, 1)
            )
            answered = self._text([*_GREETING, {"role": "assistant", "content": "y"}])
        except Exception:  # a template raises what it likes, and will for each row
            return "", []
        if not answered.startswith(prompt):
            words = f"A server's prompt for this base ends with {prompt[-20:]!r}, and its training form writes no such."
            raise Untrainable(f"{words} It would be trained for a prompt that it is never given. Train another base.")
        (before, _), (ids, spans) = self._tokens(plain, ()), self._tokens(prompt, ())
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(before, ids, strict=False))))
        return (prompt[spans[same][0] :], ids[same:]) if same < len(ids) else ("", [])

    def _text(self, messages: Sequence[Message], **options: Any) -> str:
        rendered = {"chat_template": self._template, **options}
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **rendered))

    def _rendered(self, messages: Sequence[Message], tools: list[Message] | None) -> tuple[str, list[tuple[int, int]]]:
        """Returns the text of messages, and the span of each answer behind the end of a server's prompt."""
        texts, found = render_jinja_template(
            [messages],
            tools=tools,
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        text = str(texts[0])
        spans: list[tuple[int, int]] = []
        for first, end in found[0]:
            if spans and spans[-1][1] == first:
                spans[-1] = (spans[-1][0], end)
            elif first < end:
                spans.append((first, end))
        asking = self._asking
        begins = [text.find(asking, max(0, first - len(asking)), first + len(asking)) for first, _ in spans]
        return text, [
            (max(first, begin + len(asking)) if begin >= 0 else first, end)
            for begin, (first, end) in zip(begins, spans, strict=True)
        ]

    def _tokens(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the tokens of a text, and the span of each. No token goes across a cut."""
        ids, spans = [], []
        for first, end in pairwise([0, *cuts, len(text)]):
            found = self.tokenizer(text[first:end], add_special_tokens=False, return_offsets_mapping=True)
            ids += found["input_ids"]
            spans += [(first + begins, first + ends) for begins, ends in found["offset_mapping"]]
        return ids, spans

    def _encoded(
        self,
        given: Sequence[Mapping[str, Any]],
        tools: list[Message] | None,
        trained: Sequence[bool],
        *,
        apart: bool = False,
    ) -> Encoded:
        """Returns messages as tokens. `trained`: of each of the assistant, in order. Raises BadRow.

        `apart`: read prompts and answers apart, whether or not the tokenizer joins them."""
        messages = cleaned(given, self._template)
        try:
            text, spans = self._rendered(messages, tools)
        except Exception as error:  # a template raises what it likes
            members = ("description", "parameters")
            is_bare = any(not tool["function"].get(member) for tool in tools or () for member in members)
            hint = " (it may need a description and parameters of each tool)" if is_bare else ""
            raise BadRow(f"the base's chat template refuses it: {error}{hint}") from error
        check_complete(messages, text)
        self._checks.functions(messages, tools or ())
        answers = [number for number, message in enumerate(messages, start=1) if message["role"] == "assistant"]
        if len(spans) != len(answers):
            shown = f"{len(spans)} of its {len(answers)} messages of the assistant"
            raise BadRow(f"the base's chat template shows {shown}")
        targets = [number if counts else None for number, counts in zip(answers, trained, strict=True)]
        encoded = self._split(text, spans, targets, apart=apart)
        for number, counts, (first, end) in zip(answers, trained, encoded.answers, strict=True):
            words = self.tokenizer.decode(encoded.ids[first:end])
            self._checks.answer(f"message {number}", messages[number - 1], words, trained=counts)
        return encoded

    def _split(
        self, text: str, spans: Sequence[tuple[int, int]], targets: Sequence[int | None], *, apart: bool
    ) -> Encoded:
        """Returns a text as tokens, of which each trained answer has its own. Raises BadRow.

        `targets`: the number of each span's message; None: it is not trained.

        Where a tokenizer joins the end of a prompt with an answer, as Qwen's does with line breaks, each is read alone,
        as a server does; but not where that adds a blank, as SentencePiece does."""
        whole, *_ = joined = self._tokens(text, ())
        wrong = []
        for ids, offsets in (joined, self._tokens(text, [first for first, _ in spans]))[apart:]:
            stretches = [self._stretch(ids, offsets, *span) for span in spans]
            firsts = zip(targets, stretches, strict=True)
            wrong = [number for number, (first, _) in firsts if number and not self._follows(ids, first)]
            if not wrong and (ids == whole or self.tokenizer.decode(ids) == self.tokenizer.decode(whole)):
                return Encoded(ids, stretches)
        where = f"message {wrong[0]}" if wrong else "an answer"
        raise BadRow(f"{where} does not begin where a server's prompt ends, with {self._asking[-30:]!r}")

    def _follows(self, ids: Sequence[int], first: int) -> bool:
        return ids[max(0, first - len(self._asking_ids)) : first] == self._asking_ids

    def _stretch(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]], first: int, end: int) -> tuple[int, int]:
        """Returns which tokens a span has, without blanks after the end of turn. Raises BadRow: no turn ends there."""
        begin = next((index for index, (_, ends) in enumerate(offsets) if ends > first), len(ids))
        if begin < len(ids) and offsets[begin][0] < first and ids[begin] in self._control:
            begin += 1  # Phi's control tokens take the blanks behind them
        last = next((index for index, (begins, _) in enumerate(offsets) if begins >= end), len(ids))
        while last > begin and ids[last - 1] not in self._control and not self.tokenizer.decode(ids[last - 1]).strip():
            last -= 1
        if last == begin or ids[last - 1] not in self._control:
            raise BadRow("the base's chat template marks no end of turn: the model would not learn to stop")
        return begin, last
