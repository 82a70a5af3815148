"""Fireworks' log of a job, which has no list of events: what its state, progress and cost tell. Pure."""

from __future__ import annotations

from typing import Any

from tunehook.model.job import Message, UpstreamJob
from tunehook.upstreams.fireworks_dialect import own_names
from tunehook.upstreams.members import Raw, name_in, table, text, unix, whole


def messages(raw: Raw, seen: UpstreamJob) -> list[Message]:
    """Returns what can be told of a job now, newest first: Fireworks has no list of events.

    Each has an id that is made of what it tells, so the log keeps each once.
    """
    state = (name_in(raw.get("state")) or "").removeprefix("JOB_STATE_")
    at = unix(raw.get("updateTime")) or seen.finished_at or seen.created_at
    progress = table(raw.get("jobProgress"))
    told: list[tuple[str, int, str, dict[str, Any] | None]] = [
        ("created", seen.created_at, f"Created fine-tuning job: {seen.id}", None)
    ]
    percent = whole(progress.get("percent"))
    if percent is not None:
        data = {key: value for key in ("epoch", "inputTokens") if (value := whole(progress.get(key))) is not None}
        told.append((f"percent-{percent}", at, f"{percent} % done", {"percent": percent, **data}))
    usd = cost_usd(raw)
    if usd is not None:
        told.append((f"cost-{usd:g}", at, f"Estimated cost: {usd:.2f} USD", {"usd": usd}))
    said = own_names(text(table(raw.get("status")).get("message")) or "")
    told.append((f"state-{state}", at, f"State: {state.lower()}" + (f": {said}" if said else ""), None))
    if seen.fine_tuned_model:
        told.append(("model", seen.finished_at or at, f"New fine-tuned model created: {seen.fine_tuned_model}", None))
    return [
        Message(
            created_at=moment,
            level="error" if seen.status == "failed" and key.startswith("state") else "info",
            message=line,
            data=data,
            upstream_event_id=f"{seen.id}:{key}",
        )
        for key, moment, line, data in reversed(told)
    ]


def cost_usd(raw: Raw) -> float | None:
    """Returns the estimated cost in US dollars; None where there is none, or in another currency."""
    cost = table(raw.get("estimatedCost"))
    units, nanos = whole(cost.get("units")), whole(cost.get("nanos"))
    if text(cost.get("currencyCode")) != "USD" or (units is None and nanos is None):
        return None
    return round((units or 0) + (nanos or 0) / 1e9, 6)
