"""`tunehook trigger`: sends a sample event through the project's endpoints, or straight to a server."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Annotated

from cyclopts import App, Parameter

from cli.failures import AskedWrongly
from cli.forward import Target
from cli.lines import clean, say, tell
from cli.options import FOUND, Service, examples, pairs
from cli.service_client import ServiceClient, ServiceRefused
from tunehook.errors import InvalidParameter, TunehookError
from tunehook.security import signature
from tunehook.webhooks import event_types, sample_events
from tunehook.webhooks.sender import signed_headers
from tunehook.wording import did_you_mean


class NoEndpoint(TunehookError):
    """No webhook endpoint receives {kind}. `tunehook listen --events {kind} --forward-to …` makes one."""


app = App(
    name="trigger",
    help_epilogue=examples(
        "trigger fine_tuning.job.succeeded",
        "trigger fine_tuning.job.failed --forward-to http://localhost:3000/",
    ),
)


@app.default
def run(
    event_type: str,
    *,
    endpoint: Annotated[str | None, Parameter(help="only this endpoint (default: each that receives the type)")] = None,
    forward_to: Annotated[
        str | None, Parameter(help="URL of a server that gets it, without a running Tunehook")
    ] = None,
    secret: Annotated[
        str | None, Parameter(help="with --forward-to, the whsec_… that signs (default: a new one)")
    ] = None,
    change: Annotated[
        list[str] | None, Parameter(name="--set", help="a member of the event, such as data.status=failed")
    ] = None,
    service: Service = FOUND,
) -> int:
    """Send a sample event through the project's webhook endpoints, or straight to a server.

    Exit status: 0 when each was answered 2xx, else 1.

    Args:
        event_type: such as fine_tuning.job.succeeded
    """
    members = _members(change or [])
    if event_type not in event_types.ALL:
        hint = did_you_mean(event_type.rpartition(".")[2], event_types.ALL)
        raise AskedWrongly(why=f"{event_type} is no event type.{hint} Event types: {', '.join(event_types.ALL)}.")
    if forward_to is not None:
        if endpoint is not None:
            raise AskedWrongly(why="Give --endpoint or --forward-to: one goes through Tunehook, the other does not.")
        return _straight(event_type, forward_to, secret, members)
    if secret:
        raise AskedWrongly(why="--secret needs --forward-to: an endpoint has a secret of its own.")
    with ServiceClient.from_arguments(service) as client:
        return _through(client, event_type, endpoint, members)


def _through(client: ServiceClient, kind: str, endpoint_id: str | None, members: dict[str, object]) -> int:
    if endpoint_id is not None:
        endpoints = [client.get(f"/webhook_endpoints/{endpoint_id}")]
    else:
        endpoints = [one for one in client.pages("/webhook_endpoints") if kind in one["event_types"]]
    if not endpoints:
        raise NoEndpoint(kind=kind)
    failed, body = 0, {"event_type": kind} | ({"set": members} if members else {})
    for one in endpoints:
        try:
            status = client.post(f"/webhook_endpoints/{one['id']}/test", body)["status_code"]
            failed += not 200 <= status <= 299
            came = str(status)
        except ServiceRefused as refused:
            if refused.code != "webhook_test_unanswered":
                raise
            failed += 1
            came = str(refused)
        tell(clean(f"{one['id']}  {one['url']}  → {came}"))
    return int(failed > 0)


def _straight(kind: str, url: str, secret: str | None, members: dict[str, object]) -> int:
    if secret is None:
        secret = signature.new_secret()
        say(f"signed with {secret}")
    now = int(time.time())
    try:
        event = sample_events.with_members(sample_events.sample_event(kind, "default", now=now), members)
    except InvalidParameter as wrong:
        raise AskedWrongly(why=f"--set: {wrong.fields['why']}") from None
    body = event.body.encode()
    with Target(url) as target:
        answer = target.post(signed_headers([secret], event.id, now, body), body)
    tell(f"{kind}  {event.id}  → {answer.words()}")
    return int(not answer.ok)


def _members(changes: list[str]) -> dict[str, object]:
    """Returns `path.of.member=value` texts, whose values are JSON or plain text, as a dict. Raises AskedWrongly."""
    found: dict[str, object] = {}
    for path, value in pairs(changes, option="--set", such_as="data.status=failed").items():
        found[path] = value
        with suppress(ValueError):
            found[path] = json.loads(value)
    return found
