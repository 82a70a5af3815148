"""`tunehook submit` and `estimate`: from a file to jobs, with the report and the price before anything is paid.

Several values of an option make a sweep: its jobs share `sweep` in their metadata. Which of them exist is asked of
the running Tunehook, so that a sweep that was interrupted is run again, and none of its jobs is made twice.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli.failures import FAILED, AskedWrongly, CommandFailed, NotConfirmed
from cli.job_text import HEAD, Object, job_row, total_usd
from cli.lines import say
from cli.options import FOUND, Service, examples
from cli.plan import RUN, SWEEP, Combination, Plan
from cli.service_client import ServiceClient, ServiceRefused
from cli.terminal import PLAIN, Shape, confirmed, print_list, print_rows
from cli.training_file import TrainingFiles
from tunehook.dataset.prices import usd_text

app = App(
    name="submit",
    help_epilogue=examples(
        "submit train.jsonl --model gpt-4.1-mini --name birds --yes",
        "submit train.jsonl --model gpt-4.1-mini --epochs 2,3 --dry-run",
    ),
)
estimate_app = App(
    name="estimate",
    help_epilogue=examples(
        "estimate train.jsonl --model gpt-4.1-mini",
        "estimate train.jsonl --model gpt-4.1-mini --epochs 2,3 --json",
    ),
)
_PLANNED = ("MODEL", "RUN", "TOKENS", "EPOCHS", "USD", "STATE")


@dataclass
class Row:
    """A job to be made. `job`: the one of the same sweep that exists. `estimate`: None where it does."""

    one: Combination
    body: dict[str, Any]
    job: Object | None = None
    estimate: Object | None = None

    @property
    def sweep(self) -> str | None:
        return (self.body.get("metadata") or {}).get(SWEEP)

    def cells(self) -> tuple[object, ...]:
        found = self.estimate or {}
        usd = found.get("cost_usd")
        state = f"made before: {self.job['id']} {self.job['status']}" if self.job else "new"
        return (
            self.one.model,
            self.one.label,
            found.get("billed_tokens"),
            found.get("n_epochs"),
            None if usd is None else usd_text(usd),
            state,
        )


@app.default
def submit(
    file: str,
    /,
    *,
    plan: Plan,
    yes: bool = False,
    dry_run: bool = False,
    watch: Annotated[bool, Parameter(name=("--watch", "-w"))] = False,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """Train a model on a file: check it, show the price, ask, and make the job.

    Exit status: 0 the jobs are made (with --watch: and succeeded), 1 not.

    Args:
        file: the training file, JSONL, or the id of an uploaded one
        yes: do not ask
        dry_run: show the jobs and the price, and make none
        watch: follow the jobs to their end
    """
    combinations = plan.combinations()
    if not yes and not dry_run and not sys.stdin.isatty():
        raise NotConfirmed(done="trained", other=", or --dry-run to see the price alone")
    with ServiceClient.from_arguments(service) as client:
        files = TrainingFiles(client)
        try:
            rows = _planned(client, files, file, plan, combinations)
            wanted = [row for row in rows if row.job is None]
            go = _agreed(rows, wanted, yes=yes, dry_run=dry_run)
        except BaseException:
            files.drop()
            raise
        if not go:
            files.drop()
            if not dry_run:
                say("Nothing was trained.")
            return 0 if dry_run else 1
        _create(client, files, wanted)
        jobs = [row.job for row in rows if row.job]
        if not watch:
            print_list(HEAD, jobs, map(job_row, jobs), shape)
            return 0
        from cli.watch import watch_jobs  # noqa: PLC0415  (imports what draws)

        return watch_jobs(client, [job["id"] for job in jobs], shape=shape)


def _create(client: ServiceClient, files: TrainingFiles, wanted: Sequence[Row]) -> None:
    """Makes the jobs. A sweep that breaks off says how it goes on."""
    for count, row in enumerate(wanted, 1):
        key = row.one.key(row.sweep) if row.sweep else uuid.uuid4().hex
        try:
            row.job = client.post_idempotent("/fine_tuning/jobs", row.body, key)
        except CommandFailed as error:
            if row.sweep:
                say(f"{count - 1} of {len(wanted)} jobs were made. --sweep {row.sweep} goes on with the others.")
            if count == 1 and isinstance(error, ServiceRefused) and error.exit_status == FAILED:
                files.drop()  # no job was made of it
            raise
        if row.sweep:
            say(f"{count}/{len(wanted)}  {row.job['id']}  {row.one.label}")


def _planned(
    client: ServiceClient, files: TrainingFiles, file: str, plan: Plan, combinations: Sequence[Combination]
) -> list[Row]:
    """Returns the jobs with their estimates; those of the sweep that exist are asked for first."""
    sweep = plan.sweep or (f"sweep-{uuid.uuid4().hex[:8]}" if len(combinations) > 1 else None)
    made = {
        (job["model"], job["metadata"].get(RUN)): job
        for job in (client.pages("/fine_tuning/jobs", **{f"metadata[{SWEEP}]": sweep}) if plan.sweep else ())
    }
    training, validation = _files(files, file, plan, list(made.values()))
    rows = [
        Row(one, plan.body(one, training, validation, sweep), made.get((one.model, one.label))) for one in combinations
    ]
    for row in rows:
        if row.job is None:
            row.estimate = client.post_idempotent("/fine_tuning/jobs/estimate", row.body)
    return rows


def _files(files: TrainingFiles, file: str, plan: Plan, made: Sequence[Object]) -> tuple[str, str | None]:
    """Returns the ids of both files. Those of the sweep's jobs are used again, and must be the same."""
    if not made:
        training = files.id_of(file)
        return training, files.id_of(plan.validation, minimum=0) if plan.validation else None
    training, validation = made[0]["training_file"], made[0]["validation_file"]
    same = files.same(training, file) and (
        files.same(validation, plan.validation) if validation and plan.validation else validation == plan.validation
    )
    if not same:
        raise AskedWrongly(
            why=f"Sweep {plan.sweep!r} was made of {training}, which is another file. Choose another name."
        )
    return training, validation


def _agreed(rows: Sequence[Row], wanted: Sequence[Row], *, yes: bool, dry_run: bool) -> bool:
    """Shows the jobs and their price, and asks."""
    print_rows(_PLANNED, [row.cells() for row in rows], talk=True)
    for warning in dict.fromkeys(text for row in wanted for text in (row.estimate or {}).get("warnings", ())):
        say(f"! {warning}")
    if not wanted:
        return not dry_run
    jobs = "1 job" if len(wanted) == 1 else f"{len(wanted)} jobs"
    if sweep := wanted[0].sweep:
        say(f"Sweep {sweep}: run again with --sweep {sweep}: it makes the jobs that are missing, none twice.")
    say(f"{jobs} for {total_usd((row.estimate or {}).get('cost_usd') for row in wanted)}")
    return not dry_run and confirmed(f"Start {jobs}?", yes=yes, done="trained")


@estimate_app.default
def estimate(file: str, /, *, plan: Plan, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """Say what training on a file will cost, by the running Tunehook's prices; `tunehook check` does it offline.

    A file that is not uploaded yet is uploaded, and deleted again.

    Args:
        file: the training file, JSONL, or the id of an uploaded one
    """
    with ServiceClient.from_arguments(service) as client:
        files = TrainingFiles(client)
        try:
            rows = _planned(client, files, file, plan, plan.combinations())
        finally:
            files.drop()
    found = [row.estimate for row in rows if row.estimate]
    if shape.as_json:
        print_list((), found, (), shape)
        return 0
    print_rows(_PLANNED[:-1], [row.cells()[:-1] for row in rows])
    say(*(f"! {warning}" for warning in dict.fromkeys(text for one in found for text in one["warnings"])))
    say(f"Total: {total_usd([one['cost_usd'] for one in found])}")
    return 0
