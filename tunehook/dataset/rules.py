"""Rules: what each kind of upstream trains, and what it asks of a dataset. Data in rules.json. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from tunehook.dataset.findings import Finding, finding, plural
from tunehook.dataset.prices import Method
from tunehook.dataset.report import Report


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kind of upstream.

    `least`, `most`: examples of a training file. `auto_epochs`: for "auto"; None: as OpenAI chooses, or not known.
    `as_openai`: whether tokens and automatic epochs are OpenAI's. `names_models`: whether a job that succeeded shows
    its model's name. `deployment`: what to do before a finished model answers; None: nothing.
    """

    kind: str
    methods: tuple[Method, ...]
    least: int
    most: int | None
    images: bool
    auto_epochs: int | Literal["as_openai"] | None
    as_openai: bool
    names_models: bool
    deployment: str | None
    source: str

    @property
    def measures(self) -> bool:
        """Whether an upstream of this kind says how long a million tokens took there, in its list of models."""
        return self.kind == "trainer"

    @property
    def knows_epochs(self) -> bool:
        """Whether it is known what "auto" epochs come to."""
        return self.as_openai or self.auto_epochs is not None

    def against_method(self, method: Method) -> str | None:
        """Returns why the method cannot be used here; None if it can."""
        if method in self.methods:
            return None
        return f"upstreams of kind {self.kind} train by {' and '.join(self.methods)}, not by {method}"

    def against_images(self, images: int) -> str | None:
        """Returns why a file with so many examples with images cannot be used here; None if it can."""
        if not images or self.images:
            return None
        return f"{plural(images, 'example')} with images, which upstreams of kind {self.kind} do not train on"

    def against_size(self, examples: int) -> str | None:
        """Returns why a training file has too many examples; None if it has not."""
        if self.most is None or examples <= self.most:
            return None
        return f"it has {examples:,} examples; upstreams of kind {self.kind} take {self.most:,} at most"


@cache
def all_rules() -> Mapping[str, Rules]:
    """Returns the rules by kind."""
    found = json.loads((resources.files("tunehook.dataset") / "rules.json").read_text(encoding="utf-8"))
    return {kind: _rules(kind, **row) for kind, row in found["kinds"].items()}


def _rules(kind: str, methods: list[Method], examples: tuple[int, int | None], **others: Any) -> Rules:
    least, most = examples
    return Rules(kind=kind, methods=tuple(methods), least=least, most=most, **others)


def rules_of(kind: str) -> Rules:
    return all_rules()[kind]


def check_rules(report: Report, rules: Rules, method: Method) -> list[Finding]:
    """Returns the one error of a training file that this kind of upstream does not train on."""
    if not report.examples:
        return []
    why = rules.against_method(method) or rules.against_images(report.image_examples)
    why = why or rules.against_size(report.examples)
    return [finding("format_misfit", None, "$", f"The file does not fit: {why}.")] if why else []
