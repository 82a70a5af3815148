"""Token totals: adds up the tokens of a file, and finds examples over the model's limit."""

from __future__ import annotations

from typing import Any

from tunehook.dataset.findings import Findings
from tunehook.dataset.formats import Format
from tunehook.dataset.report import Distribution, TokenStatistics
from tunehook.dataset.tokens import TokenCounter, encoding_of, token_limit


class TokenTotals:
    """The tokens of a file for one model. Findings on long examples are added to `findings`."""

    def __init__(self, model: str, findings: Findings) -> None:
        self._model, self._findings = model, findings
        self._counter = TokenCounter(encoding_of(model))
        self._limit = token_limit(model)
        self._tokens, self._answers = Distribution(), Distribution()
        self._trained = 0

    def add_plain(self, number: int, value: Any) -> None:
        """Adds a plainly good chat line (plain.py), with tools or without."""
        if len(value) == 1:
            self._add(number, *self._counter.plain(value["messages"]), value, "chat")
        else:
            self.add(number, value, "chat")

    def add(self, number: int, value: Any, form: Format) -> None:
        """Adds a line of any format."""
        self._add(number, *self._counter.line(value, form), value, form)

    def _add(self, number: int, tokens: int, answers: int, value: Any, form: Format) -> None:
        self._tokens.add(tokens)
        self._answers.add(answers)
        self._trained += min(tokens, self._limit)
        if tokens <= self._limit:
            return
        self._findings.add("over_token_limit", number, "$", f"{tokens:,} tokens; {self._limit:,} are trained on.")
        before = self._counter.before_answers(value, form)
        if before is not None and before >= self._limit:
            told = f"The first answer begins after {before:,} tokens; {self._limit:,} are trained on."
            self._findings.add("answer_cut", number, "$", told)

    def distributions(self) -> dict[str, dict[str, float]]:
        return {"tokens": self._tokens.to_dict(), "answer_tokens": self._answers.to_dict()}

    def statistics(self) -> TokenStatistics:
        return TokenStatistics(
            model=self._model,
            encoding=self._counter.encoding,
            limit=self._limit,
            total=self._tokens.total,
            trained=self._trained,
            over_limit=self._findings.counts.get("over_token_limit", 0),
        )
