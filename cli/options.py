"""Options that several commands share, as Cyclopts reads them from signatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter


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
