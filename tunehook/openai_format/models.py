"""Models as OpenAI's objects: those that can be tuned at our upstreams, and those that were tuned here. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from tunehook.dataset.prices import Prices, names_of
from tunehook.model.deployment import Deployment, DeploymentStage, shown_state
from tunehook.model.job import TunedModel


def is_tunable(row: Mapping[str, Any], prices: Prices) -> bool:
    """Whether the model can be tuned. Azure states it; at OpenAI, a model with a training price can be tuned."""
    capabilities = row.get("capabilities")
    if isinstance(capabilities, dict) and "fine_tune" in capabilities:
        return bool(capabilities["fine_tune"])
    names = names_of(str(row["id"]))
    return any(price.fits(*names) for price in prices.rows)


def base_models(rows: Iterable[Mapping[str, Any]], prices: Prices) -> dict[str, dict[str, Any]]:
    """Returns the tunable base models by name, as the first upstream that has them describes them."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = str(row["id"])
        if name not in found and not name.startswith("ft:") and is_tunable(row, prices):
            found[name] = model_object(
                name,
                created=_whole(row.get("created")),
                owned_by=str(row.get("owned_by") or "system"),
                shutdown_date=_day(row.get("shutdown_date")),
            )
    return found


def tuned_model(
    made: TunedModel,
    days: Mapping[str, str],
    owner: str,
    *,
    what_to_do: str | None = None,
    deployment: Deployment | None = None,
) -> dict[str, Any]:
    """Returns a tuned model.

    `owner`: the project. `days`: shutdown dates at its upstream. Without one, a tuned model goes with its base.
    `what_to_do`: how it is deployed; None if it answers without. `deployment`: its own, if one was asked for.
    """
    shown = model_object(
        made.name,
        created=made.created_at,
        owned_by=owner,
        shutdown_date=days.get(made.name) or days.get(made.base),
        parent=made.base,
    )
    if what_to_do is not None:
        state = shown_state(deployment)
        shown["tunehook"] = {"state": state} if state else {"state": "needs_deployment", "what_to_do": what_to_do}
    return shown


def shutdown_dates(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Model → the day (YYYY-MM-DD) on which its upstream shuts it down, where it says one."""
    return {str(row["id"]): day for row in rows if (day := _day(row.get("shutdown_date")))}


def _day(value: object) -> str | None:
    try:
        return date.fromisoformat(value).isoformat() if isinstance(value, str) else None
    except ValueError:  # such as the 45th of a month
        return None


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def model_object(
    name: str, *, created: int, owned_by: str, shutdown_date: str | None, parent: str | None = None
) -> dict[str, Any]:
    """Returns OpenAI's object. `parent`: the model that it was tuned from; servers of adapters (vLLM) say so too."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": owned_by,
        "shutdown_date": shutdown_date,
        "parent": parent,
    }


def deployment_object(deployment: Deployment) -> dict[str, Any]:
    """Returns the deployment of a model."""
    waiting, error, price = deployment.waiting, deployment.error, deployment.price
    return {
        "object": "model.deployment",
        "model": deployment.model or deployment.chat_model,
        "job_id": deployment.id,
        "upstream": deployment.upstream,
        "state": deployment.stage.value,
        "callable": deployment.stage is DeploymentStage.RUNNING,
        "upstream_name": deployment.there,
        "created_at": deployment.asked_at,
        "running_at": deployment.running_at,
        "price": price.model_dump(include={"usd_per_hour", "source", "as_of"}) if price else None,
        "waiting": waiting.model_dump(include={"reason", "code", "retry_at", "since"}) if waiting else None,
        "error": {"code": error.code, "message": error.message} if error else None,
    }
