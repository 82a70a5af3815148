"""Options: the members that one kind of upstream has and OpenAI has not, held against a table. Pure.

A client writes them under `tunehook.options`. The tables, one JSON file a kind, also name members of OpenAI that this
kind lacks, and its narrower ranges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from typing import Any

from tunehook.dataset.rules import rules_of
from tunehook.errors import InvalidParameter, UnknownParameter
from tunehook.model.job import JobSpec
from tunehook.upstreams.lacking import unsupported
from tunehook.wording import did_you_mean

WHERE = "tunehook.options"
Row = Mapping[str, Any]
_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "object": "an object",
}


@cache
def table_of(kind: str) -> Row:
    """Returns a table by its name: of a kind, `options`, `refused`, and perhaps `ranges` and `source`."""
    found: Row = json.loads((resources.files("tunehook.upstreams") / "tables" / f"{kind}.json").read_text("utf-8"))
    return found


def check_options(kind: str, model: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the options of a job with the defaults of the kind; None for none.

    Raises UnknownParameter, with the nearest name, and InvalidParameter.
    """
    rows: Mapping[str, Row] = table_of(kind)["options"]
    for name in given:
        if name not in rows:
            none = f" Upstreams of kind {kind} have {'these: ' + ', '.join(rows) if rows else 'no options'}."
            raise UnknownParameter(param=f"{WHERE}.{name[:64]}", hint=did_you_mean(name, rows) or none)
    _check_members(rows, given, WHERE)
    return {**_defaults(rows, model), **given} or None


def check_hyperparameters(kind: str, asked: Mapping[str, Any], where: str) -> None:
    """Checks OpenAI's hyperparameters against what this kind has. Raises InvalidParameter."""
    table = table_of(kind)
    for name, value in asked.items():
        if value is None or value == "auto":
            continue
        if name in table["refused"]:
            _refuse(kind, f"{where}.{name}", table["refused"][name])
        row = table.get("ranges", {}).get(name)
        if row is not None:
            _check(row, value, f"{where}.{name}", kind)


def plain_options(kind: str, model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options in one form for all that mean the same: without what is the default anyway, and 16.0 as 16."""
    defaults = _plain(_defaults(table_of(kind)["options"], model))
    return {
        name: value
        for name, value in _plain(given).items()
        if name not in defaults or json.dumps(defaults[name]) != json.dumps(value)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in sorted(value.items())}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_member(kind: str, name: str) -> None:
    """Checks that this kind has a member of OpenAI's create. Raises InvalidParameter."""
    if name in table_of(kind)["refused"]:
        _refuse(kind, name, table_of(kind)["refused"][name])


def asked_of(kind: str, upstream: str, spec: JobSpec) -> dict[str, Any]:
    """Returns the hyperparameters of a job that are not left to the upstream.

    Raises UpstreamUnsupported for what this kind lacks: the settings may have made the upstream one of another kind
    since the request was checked.
    """
    asked = {name: value for name, value in spec.asked.items() if value != "auto"}
    methods: Collection[str] = rules_of(kind).methods
    if spec.kind not in methods:
        instead = f"Use the method {' or '.join(methods)}, or another upstream."
        raise unsupported(upstream, f"method '{spec.kind}'", instead, param="method.type")
    refused = table_of(kind)["refused"]
    for name in (*asked, *(["integrations"] if spec.integrations else [])):
        if name in refused:
            raise unsupported(upstream, name, f"{refused[name][0].upper()}{refused[name][1:]}.", param=name)
    return asked


def _refuse(kind: str, param: str, instead: str) -> None:
    raise InvalidParameter(param=param, why=f"upstreams of kind {kind} have no such member; {instead}")


def _defaults(rows: Mapping[str, Row], model: str) -> dict[str, Any]:
    found = {name: row["default"] for name, row in rows.items() if "default" in row}
    for name, row in rows.items():
        for begin, value in row.get("default_for", {}).items():
            if model.startswith(begin):
                found[name] = value
    return found


def _check_members(rows: Mapping[str, Row], given: Mapping[str, Any], where: str) -> None:
    for name, value in given.items():
        if name not in rows:
            raise UnknownParameter(param=f"{where}.{name[:64]}", hint=did_you_mean(name, rows))
        _check(rows[name], value, f"{where}.{name}")


def _check(row: Row, value: object, param: str, kind: str | None = None) -> None:
    """Raises InvalidParameter for a value that is not of the row's type and within its limits."""
    if not _is_of(row["type"], value):
        raise InvalidParameter(param=param, why=f"must be {_NOUNS[row['type']]}")
    if isinstance(value, dict):
        missing = [name for name in row.get("needs", ()) if name not in value]
        if missing:
            raise InvalidParameter(param=param, why=f"needs the member {missing[0]!r}")
        _check_members(row["members"], value, param)
    elif "one_of" in row and value not in row["one_of"]:
        raise InvalidParameter(param=param, why=f"must be one of {', '.join(row['one_of'])}")
    elif isinstance(value, str) and len(value) > row.get("longest", 64):
        raise InvalidParameter(param=param, why=f"must have at most {row.get('longest', 64)} characters")
    elif isinstance(value, int | float) and not _within(row, value):
        at = f" at upstreams of kind {kind}" if kind else ""
        raise InvalidParameter(param=param, why=f"must be {_NOUNS[row['type']]} {_range(row)}{at}")


def _is_of(kind: str, value: object) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "number"):
        number = isinstance(value, int) or (kind == "number" and isinstance(value, float) and math.isfinite(value))
        return number and not isinstance(value, bool)
    return isinstance(value, str if kind == "string" else dict)


def _within(row: Row, value: float) -> bool:
    least, above = float(row.get("least", -math.inf)), float(row.get("above", -math.inf))
    most, below = float(row.get("most", math.inf)), float(row.get("below", math.inf))
    return least <= value <= most and above < value < below


def _range(row: Row) -> str:
    words = {"least": "from {}", "above": "above {}", "most": "at most {}", "below": "below {}"}
    return ", ".join(text.format(row[name]) for name, text in words.items() if name in row)
