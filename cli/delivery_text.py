"""A webhook delivery of the API as a row of a table, or as facts one below the other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from cli import times
from cli.kinds import Kind
from cli.options import path_of

DELIVERY_HEAD = ("DELIVERY", "STATE", "EVENT", "LAST ANSWER", "JOB", "TRIES", "NEXT", "CREATED", "URL")


def delivery_row(one: Mapping[str, Any]) -> tuple[object, ...]:
    """Returns the cells below DELIVERY_HEAD."""
    return (
        one["id"],
        one["state"],
        one["event_type"],
        one["last_error"] or one["last_status_code"],
        one["job_id"],
        one["attempt_count"],
        times.shown(one["next_attempt_at"]),
        times.shown(one["created_at"]),
        one["url"],
    )


def delivery_facts(one: Mapping[str, Any]) -> dict[str, object]:
    """Returns what `deliveries show` prints, name → text; None for what is not known."""
    facts: dict[str, object] = {
        "delivery": one["id"],
        "state": one["state"],
        "event": f"{one['event_type']} ({one['event_id']})",
        "job": one["job_id"],
        "endpoint": one["webhook_endpoint_id"],
        "url": one["url"],
        "created": times.shown(one["created_at"]),
        "next attempt": times.shown(one["next_attempt_at"]),
        "delivered": times.shown(one["delivered_at"]),
    }
    for attempt in one["attempts"]:
        outcome = attempt["error"] or attempt["status_code"]
        answer = f": {attempt['response_body']}" if attempt["response_body"] else ""
        when = f"{times.shown(attempt['started_at'])}, {attempt['duration_ms']} ms"
        facts[f"attempt {attempt['number']}"] = f"{outcome} ({when}){answer}"
    return facts


DELIVERY = Kind("delivery", partial(path_of, "/deliveries"), DELIVERY_HEAD, delivery_row, delivery_facts)
