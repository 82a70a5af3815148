"""Makes openapi.json beside this file from OpenAI's own description of its API: the paths that we speak, the schemas
they need, and no prose. `python -m tests.surface.openai.trim PATH/TO/openapi.yaml`
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KEPT = Path(__file__).with_name("openapi.json")
PREFIXES = ("/files", "/uploads", "/fine_tuning/jobs", "/fine_tuning/alpha/graders", "/models", "/chat/completions")
#: Stored chats are another resource than the one call that is passed through.
LEFT_OUT = ("/chat/completions/",)
PROSE = frozenset({"description", "summary", "title", "example", "examples", "tags", "externalDocs"})


def trimmed(document: dict[str, Any]) -> dict[str, Any]:
    paths = {
        path: {method: call for method, call in item.items() if not (path == "/chat/completions" and method == "get")}
        for path, item in document["paths"].items()
        if path.startswith(PREFIXES) and not path.startswith(LEFT_OUT)
    }
    kept: dict[str, Any] = {
        "openapi": document["openapi"],
        "info": {name: document["info"][name] for name in ("title", "version", "license")},
        "servers": document["servers"],
        "paths": _bare(paths),
        "components": {"securitySchemes": document["components"]["securitySchemes"]},
    }
    wanted = set(_references(kept["paths"]))
    done: set[str] = set()
    while wanted - done:
        reference = min(wanted - done)
        done.add(reference)
        _, kind, name = reference.removeprefix("#/").split("/")
        part = _bare(document["components"][kind][name])
        kept["components"].setdefault(kind, {})[name] = part
        wanted |= set(_references(part))
    return kept


def _bare(node: Any, *, named: bool = False) -> Any:
    """Without prose. Below `properties` a name is a member's, whatever it is."""
    if isinstance(node, list):
        return [_bare(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _bare(inner, named=name in ("properties", "schemas"))
        for name, inner in node.items()
        if named or not (name in PROSE or name.startswith("x-"))
    } | ({"description": ""} if "content" in node and "description" in node else {})


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)


if __name__ == "__main__":
    whole = yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))
    KEPT.write_text(json.dumps(trimmed(whole), indent=1, sort_keys=True) + "\n", "utf-8")
