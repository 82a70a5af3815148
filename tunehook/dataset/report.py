"""What the checker has to say about a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tunehook.dataset.digests import Digests
from tunehook.dataset.findings import CODES, Finding, finding
from tunehook.dataset.formats import Format


class Distribution:
    """Numbers seen, in a table that stays small: exact below 1,000, to three digits above."""

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = self.total = self.max = 0
        self.min: int | None = None

    def add(self, value: int) -> None:
        self.count += 1
        self.total += value
        self.max = max(self.max, value)
        if self.min is None or value < self.min:
            self.min = value
        if value >= 1000:
            unit = 10 ** (len(str(value)) - 3)
            value -= value % unit
        self.buckets[value] = self.buckets.get(value, 0) + 1

    def quantile(self, share: float) -> int:
        """The smallest value with at least `share` of the numbers at or below it."""
        left = share * self.count
        for value in sorted(self.buckets):
            left -= self.buckets[value]
            if left <= 1e-9:
                return value
        return self.max

    def to_dict(self) -> dict[str, float]:
        mean = self.total / self.count if self.count else 0.0
        quantiles = {name: self.quantile(q) for name, q in (("p5", 0.05), ("median", 0.5), ("p95", 0.95))}
        return {"min": self.min or 0, "max": self.max, "mean": round(mean, 2), **quantiles}


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """`total` of all examples; `trained`: what remains of them when those over `limit` are cut to it."""

    model: str
    encoding: str
    limit: int
    total: int
    trained: int
    over_limit: int


@dataclass(slots=True)
class Report:
    """`examples`: lines that are not blank, `with_errors` of them unusable. `counts`: all findings by code;
    `findings`: the first of each code. `item_keys`: members that every line of a reinforcement file has, as dotted
    paths; `missing_since`: for those of the first line that a later one lacks, that line's number.
    `digests`: what duplicates were found by; 8 bytes a line as bytes (Digests.to_bytes)."""

    format: Format
    size: int
    lines: int
    examples: int
    with_errors: int
    counts: dict[str, int]
    findings: list[Finding]
    distributions: dict[str, dict[str, float]]
    tokens: TokenStatistics | None = None
    image_examples: int = 0
    item_keys: list[str] = field(default_factory=list)
    missing_since: dict[str, int] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests, repr=False, compare=False)

    @property
    def errors(self) -> int:
        return sum(n for code, n in self.counts.items() if CODES[code].severity == "error")

    @property
    def warnings(self) -> int:
        return sum(self.counts.values()) - self.errors

    @property
    def ok(self) -> bool:
        return self.errors == 0

    def summary(self, at_most: int = 3) -> str:
        """The first errors in one sentence each: what a file's `status_details` says. Empty if there are none."""
        errors = [f for f in self.findings if f.severity == "error"]
        told = [f"{f'Line {f.line}: ' if f.line else ''}{f.message} [{f.code}]" for f in errors[:at_most]]
        more = self.errors - len(told)
        return " ".join(told) + (f" And {more:,} more." if more > 0 else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, without the digests."""
        out = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "digests"}
        out |= {"ok": self.ok, "errors": self.errors, "warnings": self.warnings}
        out["findings"] = [f.to_dict() for f in self.findings]
        out["tokens"] = asdict(self.tokens) if self.tokens else None
        return out

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Report:
        """What `to_dict` gave, read back from JSON; its digests are empty."""
        own = {name: told[name] for name in cls.__dataclass_fields__ if name != "digests"}
        own["findings"] = [Finding(**f) for f in told["findings"]]
        own["tokens"] = TokenStatistics(**told["tokens"]) if told["tokens"] else None
        return cls(**own)


def overlap(training: Digests, validation: Digests, at_most: int = 20) -> tuple[int, list[Finding]]:
    """How many validation examples are in the training file too, and the first of them."""
    shared, found = 0, []
    for line, digest in enumerate(validation.lines, 1):
        other = training.find(digest) if digest else 0
        if other:
            shared += 1
            if shared <= at_most:
                said = f"The same example as line {other} of the training file."
                found.append(finding("validation_overlap", line, "$", said))
    return shared, found
