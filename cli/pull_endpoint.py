"""The pull endpoint of a listener: found by its name or created, with the types of events that are wanted."""

from __future__ import annotations

import getpass
import re
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from cli.failures import AskedWrongly
from cli.lines import say
from cli.service_client import ServiceClient, ServiceRefused
from cli.terminal import wrapped

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def default_name() -> str:
    """Returns the user's name, as far as it may be part of a URL."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have none
        user = ""
    return re.sub(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", "", user)[:64] or "listener"


def seconds_of(text: str) -> float:
    """Parses `90`, `30m`, `1h` or `2d` into seconds."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd]?)", text, re.ASCII)
    if match is None:
        raise AskedWrongly(why=f"--since {text}: write a time such as 30m, 1h or 2d.")
    return float(match[1]) * _UNITS[match[2] or "s"]


def find_or_create(client: ServiceClient, name: str, patterns: Sequence[str]) -> dict[str, Any]:
    """Returns the endpoint; with `signing_secret` if it was created now. The secret of one that exists stays.

    `patterns`: types such as `fine_tuning.job.*`; none: as they are, or the three ends of a job for a new one.
    """
    types = _types(client, patterns) if patterns else None
    url = f"pull:{name}"
    found = _find(client, url)
    if found is None:
        body = {"name": name, "url": url} | ({"event_types": types} if types else {})
        try:
            return client.post("/webhook_endpoints", body)
        except ServiceRefused as refused:
            found = _find(client, url) if refused.code == "pull_name_taken" else None  # by another, at this moment
            if found is None:
                raise
    if types and set(types) != set(found["event_types"]):
        return client.post_idempotent(f"/webhook_endpoints/{found['id']}", {"event_types": types})
    return found


def greet(client: ServiceClient, endpoint: dict[str, Any], name: str, job: str | None = None) -> list[dict[str, Any]]:
    """Says who listens to what, on stderr; returns the deliveries that wait."""
    waiting = list(client.pages(f"/webhook_endpoints/{endpoint['id']}/deliveries", state="pending", job=job))
    if "signing_secret" in endpoint:
        secret = f"secret {endpoint['signing_secret']} (shown this once; the same after each restart)"
    else:
        secret = f"secret {endpoint['signing_secret_hint']} as before"
    came = f" · {len(waiting)} came while you were away" if waiting else ""
    about = f" of {job}" if job else ""
    for line in (f"Listening as {name} · {secret}{came}", f"to {', '.join(endpoint['event_types'])}{about}"):
        say(wrapped(line, indent=2, talk=True))
    return waiting


def recover(client: ServiceClient, endpoint_id: str, back: float) -> None:
    """Makes what was given up in the last `back` seconds due again."""
    body = {"since": int(time.time() - back)}
    count = client.post_idempotent(f"/webhook_endpoints/{endpoint_id}/recover", body)["redelivered"]
    say(f"{count} given-up deliveries are due again")


def _find(client: ServiceClient, url: str) -> dict[str, Any] | None:
    return next((one for one in client.pages("/webhook_endpoints") if one["url"] == url), None)


def _types(client: ServiceClient, patterns: Sequence[str]) -> list[str]:
    known = client.get("/webhook_event_types")["data"]
    for pattern in patterns:
        if not any(fnmatchcase(kind, pattern) for kind in known):
            raise AskedWrongly(why=f"--events {pattern} is no event type. Event types: {', '.join(known)}.")
    return [kind for kind in known if any(fnmatchcase(kind, pattern) for pattern in patterns)]
