"""`tunehook retrain`: trains the data of many jobs again at another upstream, once each however often it is run.

Which retrain was made before is known to the running Tunehook, not to this command: one that was killed is run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.service_client import ServiceClient, ServiceRefused
from tunehook.dataset.prices import usd_text
from tunehook.errors import TunehookError

WIDTH = 60  #: of a reason in the table


class NotConfirmed(TunehookError):
    """Nothing was trained: there is no terminal to ask in. Give --yes, or --dry-run to see the table alone."""


class BadArgument(TunehookError):
    """{why}"""


@dataclass
class Row:
    """One job of the table. `body`: its retrain, without `dry_run`. `state`: what was or will be done."""

    job_id: str
    dataset: str
    model: str | None
    body: dict[str, Any]
    state: str = ""
    creates: bool = False
    bad: bool = False
    usd: float | None = None
    left_out: int = 0


def run(args: argparse.Namespace) -> int:
    """Returns the exit status: 0 when each job has its retrain; 1 when one does not fit, was refused or failed."""
    if bool(args.job) == args.all:
        raise BadArgument(why="Name jobs, or give --all with --from.")
    if args.all and not args.source:
        raise BadArgument(why="--all needs --from, the upstream whose jobs are trained again.")
    models, options = _models(args.model), _options(args.options)
    with ServiceClient.from_arguments(args) as client:
        rows = [_planned(client, job, args, models, options) for job in _jobs(client, args)]
        if not rows:
            print("No job that succeeded is there to be trained again.")
            return 0
        print("\n".join(_table(rows)))
        wanted = [row for row in rows if row.creates]
        if args.dry_run or not wanted:
            return int(any(row.bad for row in rows))
        if not _confirmed(args, wanted):
            print("Nothing was trained.")
            return 1
        for count, row in enumerate(wanted, 1):
            _train(client, row)
            print(f"{count}/{len(wanted)}  {row.job_id}  {row.state}", flush=True)
    print(_summary(rows))
    return int(any(row.bad for row in rows))


def _models(given: Sequence[str]) -> Mapping[str, str]:
    """Returns base model → new model; under the empty name, the one for all others."""
    found: dict[str, str] = {}
    for text in given:
        old, _, new = text.rpartition("=")
        if not new or old in found:
            raise BadArgument(why=f"--model {text}: write NEW once for all jobs, or OLD=NEW once for each base model.")
        found[old] = new
    return found


def _options(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except ValueError as error:
        raise BadArgument(why=f"--options is not JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise BadArgument(why='--options must be an object, such as {"lora_r": 16}')
    return found


def _jobs(client: ServiceClient, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the jobs, the newest first. Retrains at the same upstream are not trained a third time."""
    if args.job:
        yield from (client.get(f"/fine_tuning/jobs/{job_id}") for job_id in dict.fromkeys(args.job))
        return
    for job in client.pages("/fine_tuning/jobs"):
        ours = job["tunehook"]
        again = args.source == args.to and ours.get("retrained_from")
        if ours["upstream"] == args.source and job["status"] == "succeeded" and not again:
            yield job


def _planned(
    client: ServiceClient,
    job: Mapping[str, Any],
    args: argparse.Namespace,
    models: Mapping[str, str],
    options: dict[str, Any] | None,
) -> Row:
    """Returns the row of a job after its dry run."""
    model = models.get(job["model"], models.get(""))
    body = {"model": model, "upstream": args.to, "again": args.again}
    body |= {"options": options} if options else {}
    body |= {"max_cost_usd": args.max_cost_usd} if args.max_cost_usd is not None else {}
    row = Row(job["id"], job["training_file"], model, body)
    if model is None:
        row.state, row.bad = f"no --model for {job['model']}", True
        return row
    try:
        found = client.post_idempotent(_path(row), body | {"dry_run": True})
    except ServiceRefused as refused:
        if refused.code == "unknown_upstream":  # the same for every job
            raise
        row.state, row.bad = str(refused), True
        return row
    existing = found["existing"]
    row.creates, row.left_out = found["creates"], len(found["left_out"])
    row.usd = (found["estimate"] or {}).get("cost_usd")
    if existing and not row.creates:
        row.state, row.bad = f"made before: {existing['id']} {existing['status']}", _is_bad(existing["status"])
    elif not found["fits"]:
        row.state, row.bad = found["error"]["message"], True
    else:
        row.state = f"fits; {existing['id']} {existing['status']} is repeated" if existing else "fits"
    return row


def _train(client: ServiceClient, row: Row) -> None:
    try:
        made = client.post_idempotent(_path(row), row.body)
    except ServiceRefused as refused:
        row.state, row.bad = str(refused), True
    else:
        row.state, row.bad = f"→ {made['id']} {made['status']}", _is_bad(made["status"])


def _path(row: Row) -> str:
    return f"/fine_tuning/jobs/{row.job_id}/retrain"


def _is_bad(status: str) -> bool:
    return status in ("failed", "cancelled")


def _table(rows: Iterable[Row]) -> Iterator[str]:
    rows = list(rows)
    yield f"{'JOB':<32} {'DATASET':<32} {'USD':>8}  FITS, OR WHY NOT"
    for row in rows:
        usd = usd_text(row.usd) if row.usd is not None else "–"
        left = f" ({row.left_out} left out)" if row.left_out else ""
        state = row.state if len(row.state) <= WIDTH or row.bad else row.state[: WIDTH - 1] + "…"
        yield f"{row.job_id:<32} {row.dataset:<32} {usd:>8}  {state}{left}"
    wanted = [row for row in rows if row.creates]
    there = sum(not row.creates and not row.bad for row in rows)
    yield f"{len(rows)} jobs: {len(wanted)} to train for {_total(wanted)}, {there} made before, " + (
        f"{sum(row.bad for row in rows)} not to be trained"
    )


def _total(rows: Sequence[Row]) -> str:
    known = [row.usd for row in rows if row.usd is not None]
    without = f" and {len(rows) - len(known)} without an estimate" if len(known) < len(rows) else ""
    return f"about ${usd_text(round(sum(known), 2))}{without}"


def _confirmed(args: argparse.Namespace, wanted: Sequence[Row]) -> bool:
    """Asks. Raises NotConfirmed without a terminal."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise NotConfirmed
    try:
        return input(f"Train {len(wanted)} jobs for {_total(wanted)}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False


def _summary(rows: Sequence[Row]) -> str:
    made = sum(row.creates and not row.bad for row in rows)
    there = sum(not row.creates and not row.bad for row in rows)
    return f"{made} trained, {there} made before, {sum(row.bad for row in rows)} not. Run it again to go on."
