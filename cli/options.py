"""Options that several commands share, as Cyclopts reads them from signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from cli.failures import AskedWrongly


def examples(*lines: str) -> str:
    """Returns the end of a command's help. A test runs each line."""
    return "\n".join(("Examples:", "", *(f"    tunehook {line}" for line in lines)))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Service:
    """Which running Tunehook a command calls, and with which key."""

    url: Annotated[
        str | None, Parameter(help="of the running Tunehook, such as http://127.0.0.1:8080 (default: OPENAI_BASE_URL)")
    ] = None
    key: Annotated[
        str | None,
        Parameter(help="an API key of the project, th_… (default: OPENAI_API_KEY)"),
    ] = None


#: The default of a parameter of type Service.
FOUND = Service()
#: A flag: JSON instead of text.
AsJson = Annotated[bool, Parameter(name="--json")]


def path_of(folder: str, one: str, *more: str) -> str:
    """Returns the path of an object, or of what lies below it. An id is quoted: it may be any text."""
    return "/".join((folder, quote(one, safe=""), *more))


def given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def pairs(texts: Sequence[str], *, option: str = "--meta", such_as: str = "team=search") -> dict[str, str]:
    """Returns `KEY=VALUE` texts as a dict. Raises AskedWrongly."""
    found = {}
    for text in texts:
        name, is_pair, value = text.partition("=")
        if not is_pair or not name:
            raise AskedWrongly(why=f"{text!r} is no pair. Write KEY=VALUE, such as {option} {such_as}.")
        found[name] = value
    return found
