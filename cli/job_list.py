"""`tunehook jobs list`: the project's jobs, newest first."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from cli.job_text import HEAD, job_row
from cli.lines import say
from cli.options import FOUND, Service, pairs
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, Shape, print_list
from cli.times import Moment

#: `--limit` unless it is given.
LISTED = 20


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
    limit: int = LISTED,
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
        say(f"More jobs are there: --limit 0 lists all. The {limit} newest are shown.")
    return 0
