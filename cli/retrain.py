"""`tunehook retrain`: trains the data of many jobs again at another upstream, once each however often it is run.

Which retrain was made before is known to the running Tunehook, not to this command: one that was killed is run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from cli.failures import AskedWrongly
from cli.job_text import total_usd
from cli.lines import clean, tell
from cli.options import FOUND, Service, given
from cli.service_client import ServiceClient, ServiceRefused
from cli.terminal import confirmed, wrapped
from tunehook.dataset.prices import usd_text

WIDTH = 60  #: of a reason in the table


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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is trained again, and how."""

    every: Annotated[bool, Parameter(name="--all", help="all jobs of --from that succeeded")] = False
    source: Annotated[str | None, Parameter(name="--from", help="upstream whose jobs are trained again")] = None
    to: Annotated[str, Parameter(help="upstream where they are trained")]
    model: Annotated[list[str], Parameter(help="NEW for all jobs, or OLD=NEW for those of base model OLD")]
    options: Annotated[str | None, Parameter(help="the new upstream's own members, as JSON")] = None
    n_epochs: Annotated[int | None, Parameter(help="used where a job's epochs are auto")] = None
    max_cost_usd: Annotated[float | None, Parameter(help="of each job: one that may cost more is not trained")] = None
    dry_run: Annotated[bool, Parameter(help="show the table, and train nothing")] = False
    yes: Annotated[bool, Parameter(help="do not ask")] = False
    again: Annotated[bool, Parameter(help="repeat retrains that failed or were cancelled")] = False


def run(*job: str, wish: Wish, service: Service = FOUND) -> int:
    """Train jobs of one upstream again at another, once each.

    Exit status: 0 when each job has its retrain; 1 when one does not fit, was refused or failed.

    Args:
        job: ids of jobs; or --all with --from
    """
    if bool(job) == wish.every:
        raise AskedWrongly(why="Name jobs, or give --all with --from.")
    if wish.every and not wish.source:
        raise AskedWrongly(why="--all needs --from, the upstream whose jobs are trained again.")
    models, options = _models(wish.model), _options(wish.options)
    with ServiceClient.from_arguments(service) as client:
        rows = [_planned(client, each, wish, models, options) for each in _jobs(client, job, wish)]
        if not rows:
            tell("No job that succeeded is there to be trained again.")
            return 0
        for line in _table(rows):
            tell(wrapped(line, indent=2))
        wanted = [row for row in rows if row.creates]
        if wish.dry_run or not wanted:
            return int(any(row.bad for row in rows))
        question = f"Train {len(wanted)} jobs for {total_usd(row.usd for row in wanted)}?"
        if not confirmed(question, yes=wish.yes, done="trained", other=", or --dry-run to see the table alone"):
            tell("Nothing was trained.")
            return 1
        for count, row in enumerate(wanted, 1):
            _train(client, row)
            tell(wrapped(f"{count}/{len(wanted)}  {row.job_id}  {row.state}", indent=2))
    tell(_summary(rows))
    return int(any(row.bad for row in rows))


def _models(texts: Sequence[str]) -> Mapping[str, str]:
    """Returns base model → new model; under the empty name, the one for all others."""
    found: dict[str, str] = {}
    for text in texts:
        old, _, new = text.rpartition("=")
        if not new or old in found:
            raise AskedWrongly(why=f"--model {text}: write NEW once for all jobs, or OLD=NEW once for each base model.")
        found[old] = new
    return found


def _options(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except ValueError as error:
        raise AskedWrongly(why=f"--options is not JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise AskedWrongly(why='--options must be an object, such as {"lora_r": 16}')
    return found


def _jobs(client: ServiceClient, ids: Sequence[str], wish: Wish) -> Iterator[dict[str, Any]]:
    """Yields the jobs, the newest first. Retrains at the same upstream are not trained a third time."""
    if ids:
        yield from (client.get(f"/fine_tuning/jobs/{job_id}") for job_id in dict.fromkeys(ids))
        return
    for job in client.pages("/fine_tuning/jobs"):
        ours = job["tunehook"]
        again = wish.source == wish.to and ours.get("retrained_from")
        if ours["upstream"] == wish.source and job["status"] == "succeeded" and not again:
            yield job


def _planned(
    client: ServiceClient,
    job: Mapping[str, Any],
    wish: Wish,
    models: Mapping[str, str],
    options: dict[str, Any] | None,
) -> Row:
    """Returns the row of a job after its dry run."""
    model = models.get(job["model"], models.get(""))
    asked = {"options": options or None, "n_epochs_if_auto": wish.n_epochs, "max_cost_usd": wish.max_cost_usd}
    body = {"model": model, "upstream": wish.to, "again": wish.again, **given(asked)}
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
        yield f"{row.job_id:<32} {row.dataset:<32} {usd:>8}  {clean(state)}{left}"
    wanted = [row for row in rows if row.creates]
    there = sum(not row.creates and not row.bad for row in rows)
    yield (
        f"{len(rows)} jobs: {len(wanted)} to train for {total_usd(row.usd for row in wanted)}, {there} made before, "
        + (f"{sum(row.bad for row in rows)} not to be trained")
    )


def _summary(rows: Sequence[Row]) -> str:
    made = sum(row.creates and not row.bad for row in rows)
    there = sum(not row.creates and not row.bad for row in rows)
    return f"{made} trained, {there} made before, {sum(row.bad for row in rows)} not. Run it again to go on."
