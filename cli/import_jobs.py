"""`tunehook import --all`: takes over every job of an upstream's account, newest first, with its dataset if asked.

Nothing is kept here: a job that the project has, and a dataset that it keeps, are skipped. So the command can be
interrupted at any moment and run again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from cyclopts import Parameter

from cli.lines import clean, say, tell
from cli.options import FOUND, Service
from cli.service_client import ServiceClient, ServiceRefused
from cli.terminal import wrapped

#: So long the fetch of the datasets is waited for while none of them comes to an end.
QUIET_SECONDS = 120.0
#: Between two looks at the datasets that are being fetched.
LOOK_SECONDS = 0.5
#: Another process imports the same job, or was killed in the middle: its lease lives for 15 s, its call for 25 s.
_TAKEN, TAKEN_SECONDS = "conflict", 60.0
Row = dict[str, Any]


@dataclass
class _Outcome:
    """`missing`: what could not be had, (upstream job, what, why). `fetching`: our job → the upstream's."""

    imported: int = 0
    known: int = 0
    kept: int = 0
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    fetching: dict[str, str] = field(default_factory=dict)


def import_all(
    *,
    upstream: str,
    every: Annotated[bool, Parameter(name="--all")],
    with_datasets: bool = False,
    dry_run: bool = False,
    service: Service = FOUND,
) -> int:
    """Take over an account's jobs, with their datasets, from an upstream.

    Exit status: 0 if all is here, 1 if something could not be had.

    Args:
        upstream: its name in the running Tunehook, such as openai
        every: every job that it lists
        with_datasets: fetch and keep the training files as well
        dry_run: show what would be imported, and import nothing
    """
    with ServiceClient.from_arguments(service) as client:
        rows = list(client.pages("/fine_tuning/jobs/importable", upstream=upstream))
        if dry_run:
            return _dry_run(rows, with_datasets=with_datasets)
        outcome = _Outcome()
        with Bar("jobs", len(rows)) as bar:
            for row in rows:
                _import(client, row, outcome, with_datasets=with_datasets)
                bar.step()
        if outcome.fetching:
            _await_datasets(client, outcome)
    return _report(outcome, with_datasets=with_datasets)


def _import(client: ServiceClient, row: Row, outcome: _Outcome, *, with_datasets: bool) -> None:
    """Takes one job over, unless it is here with all that was asked for."""
    if row["reason"]:
        outcome.missing.append((row["id"], "job", row["reason"]))
        return
    if row["job_id"]:
        outcome.known += 1
        if not with_datasets:
            return
    body: Row = {"upstream": row["upstream"], "upstream_job_id": row["id"]}
    if with_datasets:
        body["keep_dataset"] = True
    try:
        job = _post(client, body)
    except ServiceRefused as refused:
        if refused.status in (401, 403):  # the key, and so no other job either
            raise
        outcome.missing.append((row["id"], "job", refused.message))
        return
    outcome.imported += not row["job_id"]
    if with_datasets:
        _note_dataset(job, row["id"], outcome)


def _post(client: ServiceClient, body: Row) -> Row:
    """Asks for one import, until no other process works on it."""
    until = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            return client.post_idempotent("/fine_tuning/jobs/import", body)
        except ServiceRefused as refused:
            if refused.code != _TAKEN or time.monotonic() > until:
                raise
        time.sleep(1.0)


def _note_dataset(job: Row, upstream_id: str, outcome: _Outcome) -> bool:
    """Notes what has become of a job's dataset. Returns False while it is being fetched."""
    dataset = job["tunehook"]["dataset"]
    if dataset is not None and dataset["state"] == "fetching":
        outcome.fetching[job["id"]] = upstream_id
        return False
    outcome.fetching.pop(job["id"], None)
    if dataset is not None and dataset["state"] == "lost":
        outcome.missing.append((upstream_id, "dataset", dataset["reason"] or "lost"))
    else:  # without the member, its files were never at the upstream alone
        outcome.kept += 1
    return True


def _await_datasets(client: ServiceClient, outcome: _Outcome) -> None:
    """Waits until the workers have fetched the datasets, or no more come to an end."""
    until = time.monotonic() + QUIET_SECONDS
    reasons: dict[str, str] = {}
    with Bar("datasets", len(outcome.fetching)) as bar:
        while outcome.fetching and time.monotonic() < until:
            for job_id, upstream_id in list(outcome.fetching.items()):
                job = client.get(f"/fine_tuning/jobs/{job_id}")
                if _note_dataset(job, upstream_id, outcome):
                    bar.step()
                    until = time.monotonic() + QUIET_SECONDS
                else:
                    reasons[job_id] = job["tunehook"]["dataset"]["reason"] or "the workers have not come to it yet"
            if outcome.fetching:
                time.sleep(LOOK_SECONDS)
    for job_id, upstream_id in outcome.fetching.items():
        outcome.missing.append((upstream_id, "dataset", f"still being fetched: {reasons.get(job_id, '')}"))


def _report(outcome: _Outcome, *, with_datasets: bool) -> int:
    datasets = f", {outcome.kept} datasets kept" if with_datasets else ""
    tell(f"{outcome.imported} jobs imported, {outcome.known} were here{datasets}")
    if not outcome.missing:
        return 0
    tell(f"\nNot had: {len(outcome.missing)}. Run the command again to try these once more.\n")
    print_table(("JOB AT THE UPSTREAM", "WHAT", "WHY"), outcome.missing)
    return 1


def _dry_run(rows: list[Row], *, with_datasets: bool) -> int:
    """Shows what would be imported. Returns 1 if something could not be had."""
    shown = [
        (
            row["id"],
            _day(row["created_at"]),
            row["status"],
            row["model"],
            row["training_file"] or "-",
            _would(row, with_datasets=with_datasets),
        )
        for row in rows
    ]
    print_table(("JOB AT THE UPSTREAM", "CREATED", "STATUS", "MODEL", "DATASET", "WOULD"), shown)
    tell(f"\n{sum(row['importable'] for row in rows)} of {len(rows)} jobs would be imported. Nothing was changed.")
    return int(any(row["reason"] for row in rows))


def _day(created_at: int) -> str:
    try:
        return datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):  # an upstream may count in milliseconds
        return "-"


def _would(row: Row, *, with_datasets: bool) -> str:
    if row["reason"]:
        return f"not be had: {row['reason']}"
    if row["importable"]:
        return "be imported with its dataset" if with_datasets else "be imported"
    kept = not with_datasets or (row["dataset"] or {}).get("state") == "kept"
    return "be skipped: it is here" if kept else "be skipped: it is here; its dataset be fetched if it is not"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows below their heads, each column as wide as its longest text."""
    widths = [max(len(clean(row[column])) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        line = "  ".join(clean(text).ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        tell(wrapped(line, indent=2))


class Bar:
    """A progress bar: redrawn in place on a terminal, a line for each tenth elsewhere. On stderr."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        self._draw()
        return self

    def __exit__(self, *details: object) -> None:
        if self._terminal:
            say("")  # the next word begins a line, also that of an error

    def step(self) -> None:
        """Counts one more."""
        self._done += 1
        self._draw()
        if not self._terminal and (self._done == self._total or self._done % max(1, self._total // 10) == 0):
            say(f"{self._what} {self._done}/{self._total}")

    def _draw(self) -> None:
        if self._terminal:
            filled = 30 * self._done // max(1, self._total)
            line = f"\r{self._what:<9}[{'█' * filled}{'·' * (30 - filled)}] {self._done}/{self._total}"
            sys.stderr.write(line)
            sys.stderr.flush()
