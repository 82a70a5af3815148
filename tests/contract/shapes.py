"""Two descriptions of one API, compared: paths, parameters, members, whether they must be there, enumerations.

`differences(ours, theirs)` says in short lines where ours is not theirs. What ours leaves open (objects that an
upstream fills) is not looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
DEEPEST = 8


@dataclass
class Shape:
    """What a schema lets through, its alternatives taken together."""

    members: dict[str, Any] = field(default_factory=dict)  #: name → schemas that describe it
    required: set[str] = field(default_factory=set)
    values: set[str] | None = field(default_factory=set)  #: the strings that it may be; None: any
    items: list[Any] = field(default_factory=list)
    closed: bool = True  #: no other members are let through


def resolve(document: Document, schema: Any) -> Mapping[str, Any]:
    while isinstance(schema, Mapping) and "$ref" in schema:
        node: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            node = node[step.replace("~1", "/").replace("~0", "~")]
        beside = {name: inner for name, inner in schema.items() if name != "$ref"}
        schema = {**node, **beside}
    return schema if isinstance(schema, Mapping) else {}


def shape(document: Document, schemas: list[Any]) -> Shape:
    """Of a member that any of these schemas describes."""
    found, required = Shape(), list[set[str]]()
    for schema in schemas:
        for leaf in _alternatives(document, schema):
            part = _whole(document, leaf)
            for name, inner in part.get("properties", {}).items():
                found.members.setdefault(name, []).append(inner)
            if part.get("properties"):
                required.append(set(part.get("required", ())))
                found.closed &= part.get("additionalProperties") is False
            if "items" in part:
                found.items.append(part["items"])
            if found.values is not None:
                values = _values(part)
                found.values = None if values is None else found.values | values
    found.required = set.intersection(*required) if required else set()
    return found


def _alternatives(document: Document, schema: Any) -> Iterator[Mapping[str, Any]]:
    part = resolve(document, schema)
    several = part.get("oneOf") or part.get("anyOf")
    if not several:
        yield part
        return
    beside = {name: inner for name, inner in part.items() if name not in ("oneOf", "anyOf")}
    for one in several:
        for leaf in _alternatives(document, one):
            yield {"allOf": [beside, leaf]} if beside.get("properties") else leaf


def _whole(document: Document, schema: Any) -> Mapping[str, Any]:
    """A schema with what stands in its `allOf`, conditions left out."""
    part = dict(resolve(document, schema))
    for inner in part.pop("allOf", ()):
        if "if" in inner:
            continue
        more = _whole(document, inner)
        part["properties"] = {**part.get("properties", {}), **more.get("properties", {})}
        part["required"] = [*part.get("required", ()), *more.get("required", ())]
        for name in ("enum", "const", "items", "type", "additionalProperties"):
            if name in more:
                part.setdefault(name, more[name])
    return part


def _values(part: Mapping[str, Any]) -> set[str] | None:
    """The strings that are allowed; None: all of them. What is no string (a number, null, an object) adds none."""
    if "const" in part:
        return {part["const"]} if isinstance(part["const"], str) else set()
    if "enum" in part:
        return {value for value in part["enum"] if isinstance(value, str)}
    kinds = part.get("type", [])
    return None if "string" in ([kinds] if isinstance(kinds, str) else kinds) else set()


class Comparison:
    def __init__(self, ours: Document, theirs: Document, prefix: str) -> None:
        self.ours, self.theirs, self.prefix = ours, theirs, prefix

    def lines(self) -> Iterator[str]:
        for path, item in self.theirs["paths"].items():
            here = self.ours["paths"].get(self.prefix + path, {})
            for method, call in item.items():
                if method == "parameters":
                    continue
                where = f"{method.upper()} {path}"
                if method not in here:
                    yield f"{where}: not offered"
                    continue
                yield from self._call(where, here, here[method], item, call)

    def _call(self, where: str, here: Any, ours: Any, there: Any, theirs: Any) -> Iterator[str]:
        taken = self._parameters(self.ours, here, ours)
        meant = self._parameters(self.theirs, there, theirs)
        for name in sorted(set(meant) - set(taken)):
            yield f"{where} ?{name}: not taken"
        for name in sorted(set(taken) - set(meant)):
            yield f"{where} ?{name}: ours"
        for name in sorted(set(taken) & set(meant)):
            mine, schema = resolve(self.ours, taken[name]), resolve(self.theirs, meant[name])
            if "default" in schema and schema.get("default") != mine.get("default"):
                yield f"{where} ?{name}: default {mine.get('default')}, not {schema.get('default')}"
            yield from self._compare(f"{where} ?{name}", [mine], [schema], sent=True)
        sent, wanted = self._body(self.ours, ours), self._body(self.theirs, theirs)
        if sent or wanted:
            yield from self._compare(f"{where} body", sent, wanted, sent=True)
        yield from self._compare(f"{where} answer", self._answer(self.ours, ours), self._answer(self.theirs, theirs))

    def _parameters(self, document: Document, item: Any, call: Any) -> dict[str, Any]:
        found = [resolve(document, one) for one in (*item.get("parameters", ()), *call.get("parameters", ()))]
        return {one["name"]: one.get("schema", {}) for one in found if one["in"] == "query"}

    def _body(self, document: Document, call: Any) -> list[Any]:
        content = resolve(document, call.get("requestBody", {})).get("content", {})
        return [media["schema"] for media in content.values() if "schema" in media]

    def _answer(self, document: Document, call: Any) -> list[Any]:
        content = resolve(document, call["responses"]["200"]).get("content", {})
        return [media["schema"] for kind, media in content.items() if kind == "application/json" and "schema" in media]

    def _compare(
        self, where: str, ours: list[Any], theirs: list[Any], *, sent: bool = False, depth: int = 0
    ) -> Iterator[str]:
        here, there = shape(self.ours, ours), shape(self.theirs, theirs)
        yield from self._values(where, here, there, sent)
        if here.closed and here.members and there.members:
            for name in sorted(set(there.members) - set(here.members)):
                yield f"{where}.{name}: {'not taken' if sent else 'never there'}"
            for name in sorted(set(here.members) - set(there.members)):
                yield f"{where}.{name}: ours"
        if here.members and there.members:
            stricter = here.required - there.required if sent else there.required - here.required
            for name in sorted(stricter & set(here.members) & set(there.members)):
                yield f"{where}.{name}: {'must be sent' if sent else 'not always there'}"
        if depth < DEEPEST:
            for name in sorted(set(here.members) & set(there.members)):
                inner, outer = here.members[name], there.members[name]
                yield from self._compare(f"{where}.{name}", inner, outer, sent=sent, depth=depth + 1)
            if here.items and there.items:
                yield from self._compare(f"{where}[]", here.items, there.items, sent=sent, depth=depth + 1)

    def _values(self, where: str, here: Shape, there: Shape, sent: bool) -> Iterator[str]:
        if sent and here.values is not None and there.values is None and here.values:
            yield f"{where}: only {', '.join(sorted(here.values))}"
        elif sent and here.values and there.values:
            for value in sorted(there.values - here.values):
                yield f"{where}: not {value!r}"
        if not sent and there.values and here.values is None:
            yield f"{where}: any string"
        elif not sent and there.values and here.values:
            for value in sorted(here.values - there.values):
                yield f"{where}: also {value!r}"


def differences(ours: Document, theirs: Document, *, prefix: str = "/v1") -> list[str]:
    return list(Comparison(ours, theirs, prefix).lines())
