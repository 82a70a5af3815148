"""`tunehook deliveries`: what became of webhooks, and sends them again."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Literal

from cyclopts import App, Parameter

from cli.delivery_text import DELIVERY
from cli.endpoints import endpoint_path
from cli.job_text import job_path
from cli.lines import say, tell
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, Shape
from cli.times import Moment

app = App(
    name="deliveries",
    help="Show what became of webhooks, and send them again.",
    help_epilogue=examples("deliveries list --state failed", "deliveries show dlv_Ab12"),
)


@app.default
@app.command(
    name="list",
    help_epilogue=examples("deliveries list --job ftjob-Ab12", "deliveries list --state failed --since 2d --json"),
)
def list_deliveries(
    *,
    endpoint: str | None = None,
    job: str | None = None,
    state: Literal["pending", "delivered", "failed"] | None = None,
    event: str | None = None,
    since: Moment = None,
    before: Moment = None,
    limit: int = 20,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """List deliveries, newest first: of one job, of one endpoint, or of all endpoints.

    Webhooks to a job's own callback URL belong to no endpoint: --job lists them.

    Args:
        endpoint: only of this endpoint
        job: only about this job
        state: only in this state
        event: only of this event type, such as fine_tuning.job.succeeded
        since: only those made since then: 2h, 7d, 2026-11-20
        before: only those made before then
        limit: so many at most; 0: all (default: 20)
    """
    with ServiceClient.from_arguments(service) as client:
        if job and not endpoint:
            found = [
                one
                for one in client.pages(job_path(job, "deliveries"))
                if state in (None, one["state"])
                and event in (None, one["event_type"])
                and (since or 0) <= one["created_at"] < (before or float("inf"))
            ][: limit or None]
        else:
            query = {"state": state, "event_type": event, "job": job, "created_after": since, "created_before": before}
            ids = [endpoint] if endpoint else [one["id"] for one in client.pages("/webhook_endpoints")]
            lists = (client.pages(endpoint_path(one, "deliveries"), **query) for one in ids)
            every = [one for found in lists for one in islice(found, limit or None)]
            found = sorted(every, key=lambda one: -int(one["created_at"]))[: limit or None]
    DELIVERY.print_list(found, shape, "No delivery matches. Those to a job's own callback URL: --job ftjob-…")
    return 0


_SHOW = "Show a delivery and its attempts; with --json its payload too."
DELIVERY.show(app, _SHOW, "deliveries show dlv_Ab12", "deliveries show dlv_Ab12 --json")
_REDELIVER = ("deliveries redeliver dlv_Ab12", "deliveries redeliver dlv_Ab12 dlv_Cd34")
DELIVERY.do_each(app, "redeliver", "Send deliveries again now.", *_REDELIVER)


@app.command(
    help_epilogue=examples("deliveries recover we_Ab12 --since 2h", "deliveries recover we_Ab12 --since 2026-11-20")
)
def recover(
    endpoint: str, /, *, since: Annotated[Moment, Parameter(required=True)] = None, service: Service = FOUND
) -> int:
    """Send all deliveries again that an endpoint has missed since a time.

    Args:
        endpoint: its id
        since: 2h, 7d, 2026-11-20
    """
    with ServiceClient.from_arguments(service) as client:
        found = client.post(endpoint_path(endpoint, "recover"), {"since": since})
    tell(found["redelivered"])
    say(f"{found['redelivered']} deliveries are due now." if found["redelivered"] else "No delivery failed since then.")
    return 0
