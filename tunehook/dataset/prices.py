"""Prices of training: read from a data file, `prices.json`, that an operator can replace."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from tunehook.dataset.tokens import base_model

Method = Literal["supervised", "dpo", "reinforcement"]
METHODS: tuple[Method, ...] = ("supervised", "dpo", "reinforcement")
#: The date of a snapshot behind a family's name: `gpt-4.1-2025-04-14`, `gpt-3.5-turbo-0125`.
_DATE = re.compile(r"-\d{4}(-\d{2}-\d{2})?\Z", re.ASCII)


class BadPriceFile(ValueError):
    """The price file cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million trained tokens (tokens × epochs), or for an hour; exactly one is set."""

    model: str
    methods: tuple[Method, ...]
    usd_per_million_tokens: Decimal | None
    usd_per_hour: Decimal | None
    as_of: date
    source: str
    shutdown_date: date | None = None
    kinds: tuple[str, ...] | None = None  #: kinds of upstream that have this price; None: all

    def fits(self, *names: str, kind: str | None = None) -> bool:
        """Returns whether it is for one of a model's names (`names_of`). `kind`: of upstream; None: any."""
        return self.model in names and (kind is None or self.kinds is None or kind in self.kinds)


def names_of(model: str) -> tuple[str, str]:
    """Returns the names under which a model may have a price: its own, and that without the date of a snapshot."""
    return model, _DATE.sub("", model)


@dataclass(frozen=True)
class Prices:
    rows: tuple[Price, ...]

    @cached_property
    def _by_name(self) -> dict[str, list[Price]]:
        found: dict[str, list[Price]] = {}
        for row in self.rows:
            found.setdefault(row.model, []).append(row)
        return found

    def find(self, model: str, method: Method, kind: str | None = None) -> Price | None:
        """Returns the row with the longest name that fits; a tuned model costs what its base model costs.

        `kind`: of upstream; None: any. A row for that kind comes before one for all.
        """
        fitting = [row for row in self._fitting(model, kind) if method in row.methods]
        return max(fitting, key=lambda row: (len(row.model), row.kinds is not None), default=None)

    def methods(self, model: str, kind: str | None = None) -> frozenset[Method]:
        """Returns the methods that have a price for this model; none for a model that we do not know."""
        return frozenset(method for row in self._fitting(model, kind) for method in row.methods)

    def family(self, model: str, kind: str | None = None) -> str:
        """Returns the name without the date of a snapshot, where the price file has that name; else the name itself."""
        name = _DATE.sub("", model)
        return name if any(row.model == name and row.fits(name, kind=kind) for row in self.rows) else model

    def shutdown_date(self, model: str, kind: str | None = None) -> str | None:
        """Returns the day (YYYY-MM-DD) on which the model is shut down, as far as the price file knows it."""
        days = [row.shutdown_date for row in self._fitting(model, kind) if row.shutdown_date is not None]
        return min(days).isoformat() if days else None

    def _fitting(self, model: str, kind: str | None) -> list[Price]:
        names = dict.fromkeys(names_of(base_model(model)))
        return [row for name in names for row in self._by_name.get(name, ()) if row.fits(name, kind=kind)]

    def unknown(self, model: str, others: Iterable[str] = ()) -> str:
        """Says that the model is not known and names the nearest one, if any. `others`: more names."""
        names = {row.model for row in self.rows}.union(others)
        near = difflib.get_close_matches(model, names, n=1) or difflib.get_close_matches(
            _DATE.sub("", model), names, n=1
        )
        return f"`{model}` is not a model that we know" + (f"; did you mean {near[0]}?" if near else ".")


def usd_text(amount: Decimal | float) -> str:
    """Returns dollars with two decimals, and with more where it has more: 5.00, 0.0272."""
    exact = Decimal(str(amount)).normalize()
    return f"{exact:.2f}" if exact == exact.quantize(Decimal("0.01")) else f"{exact:f}"


def load_prices(path: Path | None = None) -> Prices:
    """Reads a price file, or the one that comes with the package. Raises BadPriceFile, OSError."""
    source = path or resources.files("tunehook.dataset") / "prices.json"
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadPriceFile(f"{source}: not JSON: {error}") from error
    rows = found.get("prices") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise BadPriceFile(f'{source}: write {{"prices": [{{"model": …, "usd_per_million_tokens": …}}, …]}}.')
    return Prices(tuple(_row(row, f"{source}: row {n}") for n, row in enumerate(rows, 1)))


def _row(row: Any, where: str) -> Price:
    if not isinstance(row, dict) or not isinstance(row.get("model"), str):
        raise BadPriceFile(f"{where}: must be an object with a `model`.")
    methods = row.get("methods", ["supervised", "dpo"])
    if not isinstance(methods, list) or any(method not in METHODS for method in methods):
        raise BadPriceFile(f"{where}: `methods` must be a list of {', '.join(METHODS)}.")
    kinds = row.get("kinds")
    if kinds is not None and (not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds)):
        raise BadPriceFile(f"{where}: `kinds` must be a list of kinds of upstream.")
    per_million, per_hour = _amount(row, "usd_per_million_tokens", where), _amount(row, "usd_per_hour", where)
    if (per_million is None) == (per_hour is None):
        raise BadPriceFile(f"{where}: needs `usd_per_million_tokens` or `usd_per_hour`, and not both.")
    try:
        as_of = date.fromisoformat(row["as_of"])
    except (KeyError, TypeError, ValueError):
        raise BadPriceFile(f"{where}: `as_of` must be the day it was looked up, YYYY-MM-DD.") from None
    try:
        shutdown = date.fromisoformat(row["shutdown_date"]) if row.get("shutdown_date") else None
    except (TypeError, ValueError):
        raise BadPriceFile(f"{where}: `shutdown_date` must be a day, YYYY-MM-DD.") from None
    source = str(row.get("source", ""))
    at = None if kinds is None else tuple(kinds)
    return Price(row["model"], tuple(methods), per_million, per_hour, as_of, source, shutdown, at)


def _amount(row: Mapping[str, Any], name: str, where: str) -> Decimal | None:
    """Reads a string or a number, through its text so that 0.4 is 0.4."""
    if row.get(name) is None:
        return None
    try:
        amount = Decimal(str(row[name]))
    except InvalidOperation:
        amount = Decimal(-1)
    if isinstance(row[name], bool) or not amount.is_finite() or amount < 0:
        raise BadPriceFile(f"{where}: `{name}` must be a number of dollars.")
    return amount
