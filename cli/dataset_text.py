"""A dataset's report and a job's price as a person reads them in a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from tunehook.dataset.build import Built
from tunehook.dataset.codes import CODES
from tunehook.dataset.estimate import Estimate
from tunehook.dataset.findings import Finding, plural
from tunehook.dataset.report import Report

LISTED = 5  # of each code; --json has more


def report_text(name: str, report: Report) -> Iterator[str]:
    counts, findings = report.counts, report.findings
    yield f"{name}: {report.format}, {plural(report.examples, 'example')}, {_size(report.size)}"
    for severity, title in (("error", "error"), ("warning", "warning")):
        codes = [code for code in dict.fromkeys(f.code for f in findings) if CODES[code].severity == severity]
        total = sum(counts[code] for code in codes)
        if severity == "error" or total:
            yield ""
        if severity == "error":
            bad = f" in {plural(report.with_errors, 'example')}" if report.with_errors else ""
            yield f"✗ {plural(total, title)}{bad}: the upstream would refuse this file" if total else "✓ No errors"
        elif total:
            yield f"! {plural(total, title)}: it would train, but"
        for code in codes:
            for line in _code_text(code, counts[code], [f for f in findings if f.code == code]):
                yield line.replace("tunehook build FILE", f"tunehook build {shlex.quote(name)}")
    yield from _distribution_text(report)


def _code_text(code: str, count: int, findings: Sequence[Finding]) -> Iterator[str]:
    times = f" (× {count:,})" if count > 1 else ""
    yield ""
    yield f"  {code}{times}: {CODES[code].about}"
    shown = findings[:LISTED]
    places = [f"line {f.line}" if f.line else "file" for f in shown]
    width = max(map(len, places))
    for place, found in zip(places, shown, strict=True):
        path = "" if found.path == "$" else f"{found.path}: "
        yield f"    {place:<{width}}  {path}{found.message}"
    if count > len(shown):
        yield f"    … and {count - len(shown):,} more"
    yield f"    → {CODES[code].hint}"


def _distribution_text(report: Report) -> Iterator[str]:
    rows = [(name.replace("_", " "), row) for name, row in report.distributions.items() if row]
    if not rows:
        return
    columns = ("min", "p5", "median", "mean", "p95", "max")
    yield ""
    yield f"{'Per example':<14}" + "".join(f"{column:>9}" for column in columns)
    for name, row in rows:
        yield f"  {name:<12}" + "".join(f"{row[column]:>9,}" for column in columns)


def estimate_text(estimate: Estimate) -> Iterator[str]:
    yield ""
    yield f"Training {estimate.model} ({estimate.method}):"
    kept = estimate.tokens - estimate.cut_tokens
    cut = f" ({estimate.cut_tokens:,} of {estimate.tokens:,} cut from {plural(estimate.cut, 'example')})"
    yield f"  {kept:,} tokens{cut if estimate.cut else ''} × {plural(estimate.epochs, 'epoch')}"
    yield f"  = {estimate.billed_tokens:,} billed tokens"
    if estimate.cost_usd is not None:
        price = f"{estimate.usd_per_million_tokens:,.2f} USD per million"
        yield f"  = {estimate.cost_usd:,.2f} USD at {price} ({estimate.price_source}, seen {estimate.price_date})"
    for warning in estimate.warnings:
        yield f"  ! {warning}"


def built_text(built: Built, training: str, validation: str | None) -> Iterator[str]:
    yield f"{training}: {plural(built.training_examples, 'example')}"
    if validation is not None:
        yield f"{validation}: {plural(built.validation_examples, 'example')}"
    yield from built.notes
    if built.unused:
        joins = f" `--question '{','.join([*built.asked, built.unused[0]])}'` joins columns." if built.asked else ""
        yield f"Not used: {', '.join(built.unused)}.{joins}"
    if built.dropped:
        yield f"Dropped {len(built.dropped):,}:"
        for dropped in built.dropped[: 4 * LISTED]:
            yield f"  {dropped.at}: {dropped.why}"
        if len(built.dropped) > 4 * LISTED:
            yield f"  … and {len(built.dropped) - 4 * LISTED:,} more"


def _size(size: int) -> str:
    for unit, limit in (("bytes", 1000), ("kB", 1000**2), ("MB", 1000**3)):
        if size < limit:
            return f"{size * 1000 / limit:,.1f} {unit}" if unit != "bytes" else f"{size} bytes"
    return f"{size / 1000**3:,.1f} GB"
