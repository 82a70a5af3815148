"""`tunehook jobs`: lists, shows and steers jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from cyclopts import App, Parameter

from cli import event_stream, times
from cli.delivery_text import DELIVERY
from cli.event_stream import AGAIN_SECONDS
from cli.job_text import HEAD, Object, job_facts, job_path, job_row
from cli.kinds import Kind
from cli.lines import say
from cli.metrics import compare, metrics
from cli.options import FOUND, Service, examples, given, pairs
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, Shape, print_json_line, print_list, print_rows
from cli.times import Moment

app = App(
    name="jobs",
    help="List, show and steer jobs.",
    help_epilogue=examples("jobs list --status running", "jobs show ftjob-Ab12"),
)


@app.default
@app.command(name="list", help_epilogue=examples("jobs list --meta team=search", "jobs list --since 2h --json"))
def list_jobs(
    *,
    stage: str | None = None,
    status: str | None = None,
    model: str | None = None,
    upstream: str | None = None,
    since: Moment = None,
    before: Moment = None,
    text: Annotated[str | None, Parameter(name="--q")] = None,
    meta: Annotated[list[str] | None, Parameter(name="--meta")] = None,
    limit: int = 20,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """List jobs, newest first.

    Args:
        stage: only jobs in this stage, such as waiting or tracked
        status: only jobs with this status, such as running or failed
        model: only jobs that train this base model
        upstream: only jobs at this upstream
        since: only jobs made since then: 2h, 7d, 2026-11-20
        before: only jobs made before then
        text: only jobs with this text in id, suffix, metadata or model name
        meta: KEY=VALUE: only jobs with this pair in their metadata
        limit: so many at most; 0: all (default: 20)
    """
    named = {"stage": stage, "status": status, "model": model, "upstream": upstream}
    query = named | {"created_after": since, "created_before": before, "q": text}
    labels = {f"metadata[{name}]": value for name, value in pairs(meta or []).items()}
    with ServiceClient.from_arguments(service) as client:
        most = limit + 1 if limit else None
        every = client.pages("/fine_tuning/jobs", limit=min(most or 100, 100), **labels, **query)
        found = list(islice(every, most))
    more = bool(limit) and len(found) > limit
    found = found[:limit] if limit else found
    print_list(HEAD, found, map(job_row, found), shape)
    if not found:
        narrowed = any((*query.values(), meta))
        say("No job matches." if narrowed else "No jobs yet. `tunehook submit train.jsonl --model …` makes one.")
    elif more:
        say(f"Shown: the newest {limit}. --limit 0 lists all.")
    return 0


app.command(metrics, help_epilogue=examples("jobs metrics ftjob-Ab12 --plot", "jobs metrics ftjob-Ab12 --csv"))
app.command(compare, help_epilogue=examples("jobs compare --sweep rates", "jobs compare ftjob-Ab12 --json"))
JOB = Kind("job", job_path, HEAD, job_row, job_facts)
JOB.show(app, "Show a job.", "jobs show ftjob-Ab12", "jobs show ftjob-Ab12 --json")


@app.command(help_epilogue=examples("jobs events ftjob-Ab12", "jobs events ftjob-Ab12 --follow --jsonl"))
def events(
    job: str,
    /,
    *,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"))] = False,
    as_lines: Annotated[bool, Parameter(name="--jsonl")] = False,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """Print the log of a job, oldest first.

    Args:
        job: its id
        follow: go on until the job has ended
        as_lines: the API's objects, one a line
    """
    with ServiceClient.from_arguments(service) as client:
        if follow:
            for event in followed(client, job):
                print_json_line(event) if as_lines or shape.as_json else print_rows((), [_event_row(event)])
            return 0
        found = list(client.pages(job_path(job, "events")))[::-1]
    if as_lines:
        for event in found:
            print_json_line(event)
    else:
        print_list(("TIME", "LEVEL", "MESSAGE"), found, map(_event_row, found), shape)
    return 0


def _event_row(event: Object) -> tuple[object, ...]:
    return times.shown(event["created_at"]), event["level"], event["message"]


def followed(client: ServiceClient, job: str, *, again: float = AGAIN_SECONDS) -> Iterator[Object]:
    """Yields the events of a job until it has ended."""
    return (json.loads(event.data) for event in event_stream.events(client, job_path(job, "events"), again=again))


def _checkpoint_row(one: Object) -> tuple[object, ...]:
    metrics = one["metrics"] or {}
    valid = metrics.get("full_valid_loss", metrics.get("valid_loss"))
    return one["id"], one["step_number"], metrics.get("train_loss"), valid, one["fine_tuned_model_checkpoint"]


CHECKPOINT_HEAD = ("CHECKPOINT", "STEP", "TRAIN LOSS", "VALID LOSS", "MODEL")
CHECKPOINT = Kind("checkpoint", job_path, CHECKPOINT_HEAD, _checkpoint_row)
for _name, _about, _printed in (
    ("checkpoints", "List a job's checkpoints, newest first.", CHECKPOINT),
    ("deliveries", "List a job's webhooks, newest first.", DELIVERY),
):
    JOB.below(app, _name, _about, _printed, f"jobs {_name} ftjob-Ab12", f"jobs {_name} ftjob-Ab12 --json")
_CANCEL = ("jobs cancel ftjob-Ab12", "jobs cancel ftjob-Ab12 ftjob-Cd34")
JOB.do_each(app, "cancel", "Cancel jobs.", *_CANCEL, idempotent=True)
JOB.do_each(app, "pause", "Pause jobs at their upstream.", "jobs pause ftjob-Ab12", "jobs pause ftjob-Ab12 --json")
JOB.do_each(app, "resume", "Resume paused jobs.", "jobs resume ftjob-Ab12", "jobs resume ftjob-Ab12 --json")


@app.command(
    name="import",
    help_epilogue=examples(
        "jobs import ftjob-theirs --upstream openai", "jobs import ftjob-theirs --upstream openai --with-dataset"
    ),
)
def import_job(
    job: str,
    /,
    *,
    upstream: str,
    callback: str | None = None,
    with_dataset: bool = False,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """Take over a job that was started at an upstream; `tunehook import` takes over all.

    Args:
        job: its id at the upstream
        upstream: the upstream's name in the running Tunehook
        callback: a URL that gets the webhook of its end
        with_dataset: fetch and keep its training files as well
    """
    asked = {"callback_url": callback or None, "keep_dataset": with_dataset or None}
    body = given({"upstream": upstream, "upstream_job_id": job, **asked})
    with ServiceClient.from_arguments(service) as client:
        found = client.post_idempotent("/fine_tuning/jobs/import", body)
    JOB.print_list([found], shape)
    return 0
