"""Prices an hour of deployments: data by kind of upstream and accelerator, in tables/hourly.json. Pure."""

from __future__ import annotations

from tunehook.model.job import Price
from tunehook.upstreams.options import table_of


def price_an_hour(kind: str, accelerator: str | None, count: int | None) -> Price | None:
    """Returns what one replica costs an hour; None where that is not known.

    `accelerator`, `count`: as the vendor shows them. A kind that bills no hours costs 0.
    """
    rows = table_of("hourly")["kinds"].get(kind, {})
    row = rows.get("any") or rows.get(accelerator or "")
    if row is None:
        return None
    return Price(usd_per_hour=row["usd_per_hour"] * (count or 1), source=row["source"], as_of=row["as_of"])
