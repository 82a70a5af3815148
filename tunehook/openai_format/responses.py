"""Requests to the Responses API that may be passed on. Pure.

An upstream's account is shared by all projects. So nothing is stored there for a project, and nothing that lies there
can be named: earlier responses, conversations, prompts, files, and the tools that the upstream itself runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunehook.errors import InvalidParameter, MissingParameter

#: Tools that the client runs.
TOOLS = frozenset({"function", "custom", "namespace"})
#: Member → what to do instead.
STORED = {
    "previous_response_id": "send the earlier messages in `input`",
    "conversation": "send the earlier messages in `input`",
    "prompt": "send its text in `instructions` or `input`",
    "background": "leave it out, and stream the answer if it takes long",
    "context_management": "shorten `input` yourself",
}


def passed_on(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the body to send, with `store` false. Raises InvalidParameter and MissingParameter."""
    if body.get("input") is None:
        raise MissingParameter(param="input")
    if not isinstance(body["input"], str | list):
        raise InvalidParameter(param="input", why="it must be a string or a list")
    for name, instead in STORED.items():
        if body.get(name):
            raise InvalidParameter(param=name, why=f"nothing is stored at the upstream for a project; {instead}")
    if body.get("store"):
        raise InvalidParameter(param="store", why="nothing is stored at the upstream for a project; leave it out")
    for place, tool in enumerate(_objects(body.get("tools"))):
        if tool.get("type") not in TOOLS:
            raise InvalidParameter(
                param=f"tools[{place}].type", why="only tools that you run yourself are passed on: function and custom"
            )
    if any(_names_a_file(part) for part in _parts(body["input"])):
        raise InvalidParameter(param="input", why="files at the upstream cannot be named; send `file_data` or a URL")
    return {**body, "store": False}


def _names_a_file(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "item_reference" or bool(part.get("file_id"))


def _parts(given: object) -> Iterator[Mapping[str, Any]]:
    """Yields every object of the input, at any depth."""
    found = [given]
    while found:
        value = found.pop()
        if isinstance(value, dict):
            yield value
            found += value.values()
        elif isinstance(value, list):
            found += value


def _objects(given: object) -> list[Mapping[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise InvalidParameter(param="tools", why="it must be a list of objects")
    return given
