"""Report: the result of a check."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from tunehook.dataset.codes import CODES
from tunehook.dataset.digests import Digests, counted
from tunehook.dataset.findings import Finding, finding
from tunehook.dataset.formats import FORMATS, Format
from tunehook.dataset.messages import ROLES

# What `shown` quoted, whole or cut short.
_QUOTED = re.compile(r"""(?<!\w)(['"])(?:\\.|(?!\1).)*?(?:\1|…)""")
_OUR_WORDS = (*ROLES, *FORMATS, "role")


class Distribution:
    """Distribution of numbers in a small table: exact below 1,000, to three digits above."""

    def __init__(self) -> None:
        self._small = [0] * 1000
        self._large: dict[int, int] = {}
        self._large_total = self._large_max = 0
        self._large_min: int | None = None

    def add(self, value: int) -> None:
        if value < 1000:
            self._small[value] += 1
            return
        self._large_total += value
        self._large_max = max(self._large_max, value)
        self._large_min = min(self._large_min or value, value)
        unit = 10 ** (len(str(value)) - 3)
        rounded = value - value % unit
        self._large[rounded] = self._large.get(rounded, 0) + 1

    @property
    def total(self) -> int:
        return self._large_total + sum(value * n for value, n in enumerate(self._small))

    def to_dict(self) -> dict[str, float]:
        """Returns min, max, mean, p5, median and p95; nothing if no number was seen."""
        table = [(value, n) for value, n in enumerate(self._small) if n] + sorted(self._large.items())
        count = sum(n for _, n in table)
        if not count:
            return {}
        smallest = table[0][0] if table[0][0] < 1000 else self._large_min or 0
        out = {"min": smallest, "max": self._large_max or table[-1][0], "mean": round(self.total / count, 2)}
        quantiles = ((name, _quantile(table, q * count)) for name, q in (("p5", 0.05), ("median", 0.5), ("p95", 0.95)))
        # Three digits are kept, so that one may come out below the smallest.
        return out | {name: max(smallest, value) for name, value in quantiles}


def _quantile(table: list[tuple[int, int]], rank: float) -> int:
    """Returns the smallest value with at least `rank` of the numbers at or below it."""
    for value, n in table:
        rank -= n
        if rank <= 1e-9:
            return value
    return table[-1][0]


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
    `also`: other formats that all its lines fit.
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
    also: list[str] = field(default_factory=list)
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

    def note(self, count: int, findings: list[Finding]) -> None:
        """Adds what was found by comparing with another file: `count` of one code, the first of them listed."""
        if findings:
            self.counts[findings[0].code] = self.counts.get(findings[0].code, 0) + count
            self.findings.extend(findings)

    def summary(self, at_most: int = 3) -> str:
        """The first errors in one sentence each: what a file's `status_details` says. Empty if there are none.

        It stands in the record and in lists of files, so that it quotes nothing of the dataset; the report does.
        """
        told = [_sentence(f) for f in self.findings if f.severity == "error"][:at_most]
        more = self.errors - len(told)
        return " ".join(told) + (f" And {more:,} more." if more > 0 else "")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON, without the digests."""
        out = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "digests"}
        out |= {"ok": self.ok, "errors": self.errors, "warnings": self.warnings}
        out["findings"] = [asdict(f) for f in self.findings]
        out["tokens"] = asdict(self.tokens) if self.tokens else None
        return out

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Report:
        """Returns a report from what `to_dict` gave; its digests are empty."""
        own = {name: found[name] for name in cls.__dataclass_fields__ if name != "digests"}
        own["findings"] = [Finding(**f) for f in found["findings"]]
        own["tokens"] = TokenStatistics(**found["tokens"]) if found["tokens"] else None
        return cls(**own)


def _sentence(found: Finding) -> str:
    where, message = "", found.message
    if found.line:
        where = f"Line {found.line}: "
        message = _QUOTED.sub(lambda quoted: quoted[0] if quoted[0].strip("'") in _OUR_WORDS else "'…'", message)
    return f"{where}{message.rstrip('.')} [{found.code}]."


def overlap(training: Digests, validation: Digests, at_most: int = 20) -> tuple[int, list[Finding]]:
    """Returns how many validation examples are in the training file too, and the first of them."""
    count, first = counted(validation.shared_with(training), at_most)
    text = "The same example as line {} of the training file."
    return count, [finding("validation_overlap", line, "$", text.format(other)) for line, other in first]
