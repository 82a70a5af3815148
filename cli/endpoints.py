"""`tunehook endpoints`: webhook subscriptions of the project."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import times
from cli.job_text import Object
from cli.kinds import Kind
from cli.lines import say, tell
from cli.options import FOUND, Service, examples, given, path_of
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, Shape, confirmed, print_json, print_one, print_rows

app = App(
    name="endpoints",
    help="List, make and test webhook subscriptions.",
    help_epilogue=examples("endpoints create https://you.example/hooks --name production", "endpoints list"),
)
HEAD = ("ENDPOINT", "STATE", "NAME", "URL", "EVENTS", "CREATED", "NOTE")
endpoint_path = partial(path_of, "/webhook_endpoints")
Events = Annotated[list[str] | None, Parameter(name="--event")]


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    ours = one["tunehook"]
    failing = f"failing since {times.shown(ours['failing_since'])}" if ours["failing_since"] else None
    note = ours["disabled_reason"] or failing
    created = times.shown(one["created_at"])
    return one["id"], ours["state"], one["name"], one["url"], len(one["event_types"]), created, note


@app.default
@app.command(name="list", help_epilogue=examples("endpoints list", "endpoints list --json"))
def list_endpoints(*, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """List the project's endpoints, newest first."""
    with ServiceClient.from_arguments(service) as client:
        found = list(client.pages("/webhook_endpoints"))
    none = "No endpoint yet. `tunehook endpoints create https://you.example/hooks --name production` makes one."
    ENDPOINT.print_list(found, shape, none)
    return 0


def _facts(one: Object) -> dict[str, object]:
    ours = one["tunehook"]
    return {
        "endpoint": one["id"],
        "state": ours["state"],
        "why": ours["disabled_reason"],
        "name": one["name"],
        "url": one["url"],
        "events": ", ".join(one["event_types"]),
        "created": times.shown(one["created_at"]),
        "failing since": times.shown(ours["failing_since"]),
        "secret": one.get("signing_secret") or one["signing_secret_hint"],
    }


ENDPOINT = Kind("endpoint", endpoint_path, HEAD, _row, _facts)
ENDPOINT.show(app, "Show an endpoint.", "endpoints show we_Ab12", "endpoints show we_Ab12 --json")
_ENABLE = "Enable an endpoint that was disabled; `deliveries recover` sends what it missed."
ENDPOINT.do(app, "enable", _ENABLE, "endpoints enable we_Ab12", "endpoints enable we_Ab12 --json")


@app.command(
    help_epilogue=examples(
        "endpoints create https://you.example/hooks --name production",
        "endpoints create https://you.example/hooks --name ends --json",
    )
)
def create(url: str, /, *, name: str, event: Events = None, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """Make an endpoint; its signing secret is shown this once.

    Args:
        url: where webhooks are posted
        name: shown in the list
        event: a type that it gets; may be repeated (default: a job's end)
    """
    body: Object = {"url": url, "name": name} | ({"event_types": event} if event else {})
    with ServiceClient.from_arguments(service) as client:
        ENDPOINT.print(client.post("/webhook_endpoints", body), shape)
    say("Store the secret now: it is not shown again.")
    return 0


@app.command(
    help_epilogue=examples(
        "endpoints update we_Ab12 --to https://you.example/hooks2", "endpoints update we_Ab12 --name old"
    )
)
def update(
    endpoint: str,
    /,
    *,
    url: Annotated[str | None, Parameter(name="--to")] = None,
    name: str | None = None,
    event: Events = None,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """Change an endpoint.

    Args:
        endpoint: its id
        url: its new URL
        name: its new name
        event: a type that it gets; may be repeated, and replaces all that it had
    """
    asked = {"url": url or None, "name": name or None, "event_types": event or None}
    with ServiceClient.from_arguments(service) as client:
        ENDPOINT.print(client.post(endpoint_path(endpoint), given(asked)), shape)
    return 0


@app.command(help_epilogue=examples("endpoints delete we_Ab12", "endpoints delete we_Ab12 --yes"))
def delete(endpoint: str, /, *, yes: bool = False, service: Service = FOUND) -> int:
    """Delete an endpoint and its log.

    Args:
        endpoint: its id
        yes: do not ask
    """
    with ServiceClient.from_arguments(service) as client:
        found = client.get(endpoint_path(endpoint))
        if not confirmed(f"Delete {found['name']}, {found['url']}?", yes=yes, done="deleted"):
            return 1
        tell(client.delete(endpoint_path(endpoint))["id"])
    return 0


@app.command(
    name="rotate-secret",
    help_epilogue=examples("endpoints rotate-secret we_Ab12", "endpoints rotate-secret we_Ab12 --keep-old"),
)
def rotate_secret(endpoint: str, /, *, keep_old: bool = False, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """Make a new signing secret, which is shown this once.

    Args:
        endpoint: its id
        keep_old: sign by the old one as well, for 24 hours
    """
    body = {"keep_old_secret_active_for_24_hours": True} if keep_old else {}
    with ServiceClient.from_arguments(service) as client:
        ENDPOINT.print(client.post(endpoint_path(endpoint, "rotate_secret"), body), shape)
    return 0


@app.command(
    name="test",
    help_epilogue=examples("endpoints test we_Ab12", "endpoints test we_Ab12 --event fine_tuning.job.failed"),
)
def send_test(
    endpoint: str, /, *, event: str = "fine_tuning.job.succeeded", shape: Shape = PLAIN, service: Service = FOUND
) -> int:
    """Send a signed sample now, and print the server's answer.

    Args:
        endpoint: its id
        event: the type of the sample (default: fine_tuning.job.succeeded)
    """
    with ServiceClient.from_arguments(service) as client:
        found = client.post(endpoint_path(endpoint, "test"), {"event_type": event})
    if shape.as_json:
        print_one(found, {}, shape)
    else:
        print_rows((), [("event", found["event_type"]), ("answer", found["status_code"])])
    return 0


@app.command(name="event-types", help_epilogue=examples("endpoints event-types", "endpoints event-types --json"))
def event_types(*, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """List the types of events."""
    with ServiceClient.from_arguments(service) as client:
        found = client.get("/webhook_event_types")["data"]
    if shape.as_json:
        print_json(found)
    else:
        print_rows((), [(one,) for one in found])
    return 0
