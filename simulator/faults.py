"""What can be made to go wrong, by name, and who asks for it.  (pure)

A directive is written ``name``, ``name:seconds`` or ``name:seconds*times``; it stands in a request's metadata
(``{"simulate": …}``), behind a model's name (``gpt-4.1-mini-2025-04-14+insufficient_quota``) or comes from
`POST /simulator/faults`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.problems import NAMED
from wire import checking
from wire.problems import bad

# The connection itself: no answer, a late one, half of one.
_BREAKS = frozenset({"reset", "hang", "malformed"})
# The rest of the answer is as ever; these change what a list shows, or how long it takes.
MODIFIERS = frozenset({"list_lag", "ignore_metadata_filter", "delay"})
# How a job lives.
LIVES = frozenset((
    "fail", "invalid_n_examples", "invalid_training_file", "unsafe_file", "stall", "stall_validating", "stall_queued",
    "pause", "long_queue", "model_late", "list_lag",
))  # fmt: skip
_NAMES = frozenset(NAMED) | _BREAKS
REQUESTS = _NAMES | {f"after_{name}" for name in _NAMES} | {"late"} | {f"late_{name}" for name in _NAMES} | MODIFIERS


@dataclass(frozen=True)
class Directive:
    """`seconds` is a delay, a lag or a Retry-After, as the name has it; `times` null means for ever."""

    name: str
    seconds: float | None = None
    times: int | None = None

    @property
    def acts_first(self) -> bool:
        """Whether the request takes effect although its answer is lost."""
        return self.name.startswith(("after_", "late"))

    @property
    def lands_after(self) -> float:
        """Seconds until what was created exists (`late`, `late_*`: 10 unless said)."""
        if not self.name.startswith("late"):
            return 0.0
        return 10.0 if self.seconds is None else self.seconds

    @property
    def answer(self) -> str:
        """reset, hang, malformed, or a name in problems.NAMED."""
        if self.name == "late":
            return "http_500"
        return self.name.removeprefix("after_").removeprefix("late_")


_WRITTEN = re.compile(r"(?P<name>[a-z0-9_]+)(?::(?P<seconds>\d+(?:\.\d+)?))?(?:\*(?P<times>\d+))?")


def parse(written: str, *, param: str) -> Directive:
    """Raises Problem 400 for a name that does not exist."""
    found = _WRITTEN.fullmatch(written)
    if found is None or found["name"] not in REQUESTS | LIVES:
        raise bad(
            f"'{written}' is nothing the simulator knows. Write name, name:seconds or name:seconds*times; "
            f"names: {', '.join(sorted(REQUESTS | LIVES))}.",
            param=param,
            code="unknown_fault",
        )
    return Directive(
        found["name"],
        float(found["seconds"]) if found["seconds"] else None,
        int(found["times"]) if found["times"] else None,
    )


def from_body(body: Mapping[str, object]) -> tuple[str, Directive | None]:
    """The model's real name, and what the body asks to go wrong (its metadata before its model's name)."""
    given = body.get("model")
    model, _, behind = given.partition("+") if isinstance(given, str) else ("", "", "")
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("simulate"), str):
        return model, parse(metadata["simulate"], param="metadata.simulate")
    return model, parse(behind, param="model") if behind else None


@dataclass
class Rule:
    """One `POST /simulator/faults`: requests that match get the directive until `left` is 0 (null: for ever)."""

    path: re.Pattern[str]
    method: str | None
    directive: Directive
    left: int | None

    def matches(self, method: str, path: str) -> bool:
        return self.left != 0 and self.method in (None, method) and self.path.search(path) is not None

    def shown(self) -> dict[str, object]:
        return {
            "path": self.path.pattern,
            "method": self.method,
            "fault": self.directive.name,
            "seconds": self.directive.seconds,
            "left": self.left,
        }


_RULE = checking.table(
    {
        "path": checking.text(),
        "method": checking.nullable(checking.text()),
        "fault": checking.one_of(*sorted(REQUESTS)),
        "times": checking.nullable(checking.integer(least=1)),
        "seconds": checking.nullable(checking.number(least=0)),
    },
    required=("fault",),
)


def rule(body: Mapping[str, Any]) -> Rule:
    """Raises Problem 400 for a body that makes no rule."""
    _RULE(body, "")
    try:
        path = re.compile(body.get("path", ""))
    except re.error as error:
        words = f"'path' is not a regular expression: {error}."
        raise bad(words, param="path", code="invalid_value") from error
    method, times = body.get("method"), body.get("times")
    return Rule(path, method.upper() if method else None, Directive(body["fault"], body.get("seconds"), times), times)
