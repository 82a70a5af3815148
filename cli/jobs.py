"""`tunehook jobs`: lists, shows and steers jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

from cyclopts import App, Parameter

from cli import event_stream, times
from cli.delivery_text import DELIVERY
from cli.event_stream import AGAIN_SECONDS
from cli.job_list import list_jobs
from cli.job_text import HEAD, Object, job_facts, job_path, job_row
from cli.kinds import Kind
from cli.metrics import compare, metrics
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, Shape, print_json_line, print_list, print_rows

app = App(
    name="jobs",
    help="List, show and steer jobs.",
    help_epilogue=examples("jobs list --status running", "jobs show ftjob-Ab12"),
)
app.default(list_jobs)
app.command(
    list_jobs, name="list", help_epilogue=examples("jobs list --meta team=search", "jobs list --since 2h --json")
)
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
    body: Object = {"upstream": upstream, "upstream_job_id": job}
    body |= {"callback_url": callback} if callback else {}
    body |= {"keep_dataset": True} if with_dataset else {}
    with ServiceClient.from_arguments(service) as client:
        found = client.post_idempotent("/fine_tuning/jobs/import", body)
    JOB.print_list([found], shape)
    return 0
