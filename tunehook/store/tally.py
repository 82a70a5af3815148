"""Counters and histograms of what happens in any process: fields of one hash, added to in the commit that they count.

A field is the family's name and its labels, joined by tabs. A histogram has a field for each bucket that was hit, by
its number, and one for the sum, in ms. Labels are names of upstreams and projects, and words of a short list: so the
hash stays small, and is read whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, product

from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change

Labels = tuple[str, ...]
#: So many projects have series of their own, the first to be counted; `OTHER` is the sum of all later ones.
MOST_PROJECTS, OTHER = 100, "other"
_SUM = "sum"
#: How an attempt to deliver can end, and the usual answers of upstreams: their series are there before the first one.
OUTCOMES = ("delivered", "refused", "unanswered")
CODES = ("200", "400", "401", "403", "404", "409", "429", "500", "502", "503", "504", "none")


@dataclass(frozen=True)
class CounterFamily:
    """A counter. The hash holds `parts` for each 1 of it."""

    name: str
    about: str
    labels: Labels
    parts: int = 1


@dataclass(frozen=True)
class HistogramFamily:
    """A histogram of durations. `bounds`: the upper ends of its buckets, in seconds, without the infinite one."""

    name: str
    about: str
    labels: Labels
    bounds: tuple[float, ...]


TRAINED_TOKENS = CounterFamily(
    "tunehook_trained_tokens", "Tokens trained, as the upstream counts them.", ("upstream", "project")
)
ESTIMATED_USD = CounterFamily(
    "tunehook_estimated_usd", "Estimates of the jobs that were created.", ("upstream", "project"), parts=1_000_000
)
SPENT_USD = CounterFamily(
    "tunehook_spent_usd", "Price of the trained tokens of jobs that ended.", ("upstream", "project"), parts=1_000_000
)
UPLOADED_BYTES = CounterFamily("tunehook_uploaded_bytes", "Bytes of datasets that upstreams took.", ("upstream",))
UPSTREAM_ANSWERS = CounterFamily(
    "tunehook_upstream_answers", "Answers of upstreams by HTTP status; none: there was none.", ("upstream", "code")
)
CREATED_SECONDS = HistogramFamily(
    "tunehook_job_created_seconds",
    "From a job's acceptance to its creation at the upstream.",
    ("upstream",),
    (1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
)
NOTICED_SECONDS = HistogramFamily(
    "tunehook_end_noticed_seconds",
    "From a job's end, by the upstream's clock, to its record here.",
    ("upstream",),
    (0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
RECEIVED_SECONDS = HistogramFamily(
    "tunehook_end_received_seconds",
    "From the record of a job's end to the 2xx of a receiver of its webhook.",
    (),
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 36000),
)
DELIVERY_SECONDS = HistogramFamily(
    "tunehook_delivery_duration_seconds",
    "Attempts to deliver a webhook.",
    ("outcome",),
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
COUNTERS = (TRAINED_TOKENS, ESTIMATED_USD, SPENT_USD, UPLOADED_BYTES, UPSTREAM_ANSWERS)
HISTOGRAMS = (CREATED_SECONDS, NOTICED_SECONDS, RECEIVED_SECONDS, DELIVERY_SECONDS)


@dataclass
class Buckets:
    """Observations of one series: how many in each bucket, the last one infinite, and their sum in seconds."""

    counts: list[int]
    seconds: float = 0.0

    def up_to(self) -> list[int]:
        """Returns for each bound how many observations are not above it."""
        return list(accumulate(self.counts))


class Durations:
    """A histogram that one process keeps for itself."""

    def __init__(self, family: HistogramFamily) -> None:
        self.family = family
        self.rows: dict[Labels, Buckets] = {}

    def observe(self, labels: Labels, seconds: float) -> None:
        buckets = self.rows.get(labels)
        if buckets is None:
            buckets = self.rows[labels] = Buckets([0] * (len(self.family.bounds) + 1))
        buckets.counts[bisect_left(self.family.bounds, seconds)] += 1
        buckets.seconds += seconds

    def copy(self) -> Durations:
        copy = Durations(self.family)
        copy.rows = {labels: Buckets(list(row.counts), row.seconds) for labels, row in self.rows.items()}
        return copy


@dataclass(frozen=True)
class Tally:
    """All that was counted, as /metrics shows it."""

    counters: Mapping[CounterFamily, dict[Labels, float]] = field(default_factory=dict)
    histograms: Mapping[HistogramFamily, dict[Labels, Buckets]] = field(default_factory=dict)


# ---- written


def count(change: Change, family: CounterFamily, labels: Labels, by: int) -> Change:
    """Adds to the change that `by` parts are counted."""
    if by <= 0:
        return change
    if "project" in family.labels:
        listed = [keys.COUNTED_PROJECTS, labels[family.labels.index("project")]]
        if listed not in change.listed:
            change.list_in(*listed)
    return change.do(*_add(family, labels, by))


def observe(change: Change, family: HistogramFamily, labels: Labels, seconds: float) -> Change:
    """Adds an observation to the change. Clocks of two machines differ: less than 0 counts as 0."""
    seconds = max(0.0, seconds)
    change.do("HINCRBY", keys.COUNTS, _field(family.name, *labels, str(bisect_left(family.bounds, seconds))), 1)
    return change.do("HINCRBY", keys.COUNTS, _field(family.name, *labels, _SUM), round(seconds * 1000))


def additions(family: CounterFamily, counted: Mapping[tuple[str, str], int]) -> list[tuple[str, str, str, int]]:
    """Returns the commands that count what belongs to no commit."""
    return [_add(family, labels, by) for labels, by in counted.items()]


def _add(family: CounterFamily, labels: Labels, by: int) -> tuple[str, str, str, int]:
    return "HINCRBY", keys.COUNTS, _field(family.name, *labels), by


def _field(*parts: str) -> str:
    return "\t".join(parts)


# ---- read


def parsed(fields: Mapping[str, str], projects: Sequence[str], upstreams: Sequence[str] = ()) -> Tally:
    """Returns what the hash has, and 0 for what was not counted yet: Prometheus' `increase` misses a first value.

    `projects`: those with series of their own. Fields of other versions are left out.
    """
    counters: dict[str, CounterFamily] = {family.name: family for family in COUNTERS}
    histograms: dict[str, HistogramFamily] = {family.name: family for family in HISTOGRAMS}
    values = {"upstream": upstreams, "project": projects, "outcome": OUTCOMES, "code": CODES}

    def _rows(family: CounterFamily | HistogramFamily) -> Iterable[Labels]:
        return product(*(values[label] for label in family.labels))

    tally = Tally(
        {family: dict.fromkeys(_rows(family), 0.0) for family in COUNTERS},
        {family: {row: Buckets([0] * (len(family.bounds) + 1)) for row in _rows(family)} for family in HISTOGRAMS},
    )
    known = frozenset(projects)
    for name, value in fields.items():
        family, *parts = name.split("\t")
        if (counter := counters.get(family)) and len(parts) == len(counter.labels):
            labels = _bounded(counter, parts, known)
            rows = tally.counters[counter]
            rows[labels] = rows.get(labels, 0) + int(value) / counter.parts
        elif (histogram := histograms.get(family)) and len(parts) == len(histogram.labels) + 1:
            _enter(tally.histograms[histogram], histogram, parts, int(value))
    return tally


def _bounded(family: CounterFamily, parts: Iterable[str], known: frozenset[str]) -> Labels:
    pairs = zip(family.labels, parts, strict=True)
    return tuple(OTHER if label == "project" and part not in known else part for label, part in pairs)


def _enter(rows: dict[Labels, Buckets], family: HistogramFamily, parts: list[str], value: int) -> None:
    *labels, what = parts
    buckets = rows.setdefault(tuple(labels), Buckets([0] * (len(family.bounds) + 1)))
    if what == _SUM:
        buckets.seconds = value / 1000
    elif what.isdigit() and int(what) < len(buckets.counts):
        buckets.counts[int(what)] = value
