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
#: Items of `input` that bring all that they mean.
ITEMS = frozenset({
    "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning",
})  # fmt: skip
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
    _check_tools(body.get("tools"))
    refuse_files(body["input"], "input")
    if isinstance(body["input"], list):
        for place, item in enumerate(body["input"]):
            _check_item(item, f"input[{place}]")
    return {**body, "store": False}


def refuse_files(given: object, param: str) -> None:
    """Refuses the ids of files at the upstream, at any depth. Raises InvalidParameter."""
    if any(part.get("file_id") or part.get("type") == "item_reference" for part in _parts(given)):
        raise InvalidParameter(param=param, why="files at the upstream cannot be named; send `file_data` or a URL")


def _check_tools(given: object) -> None:
    for place, tool in enumerate(_objects(given)):
        if not _is_one_of(TOOLS, tool.get("type")):
            why = "only tools that you run yourself are passed on: function and custom"
            raise InvalidParameter(param=f"tools[{place}].type", why=why)
        if tool["type"] == "namespace":
            for inner, one in enumerate(_objects(tool.get("tools"))):
                if not _is_one_of(TOOLS - {"namespace"}, one.get("type")):
                    why = "a namespace may have tools of the types function and custom alone"
                    raise InvalidParameter(param=f"tools[{place}].tools[{inner}].type", why=why)


def _check_item(item: object, param: str) -> None:
    """Refuses an item that has no content of its own: the upstream would look its id up among what it has stored."""
    if not isinstance(item, dict):
        raise InvalidParameter(param=param, why="it must be an object")
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    if not _is_one_of(ITEMS, kind):
        why = f"nothing that is stored at the upstream can be named; send one of {', '.join(sorted(ITEMS))}"
        raise InvalidParameter(param=param, why=why)
    if kind == "reasoning" and not (item.get("encrypted_content") or item.get("content")):
        raise InvalidParameter(param=param, why="reasoning needs its `encrypted_content`: it is not stored")


def _is_one_of(names: frozenset[str], value: object) -> bool:
    return isinstance(value, str) and value in names  # a list or an object cannot be looked up in a set


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
