"""Times as a person writes and reads them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter, Token

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def moment_of(text: str) -> int:
    """Returns seconds since 1970 of `2h` (ago), of a date or time in UTC, or of such seconds. Raises ValueError."""
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", text):
        return int(time.time()) - int(found[1]) * _UNITS[found[2]]
    if re.fullmatch(r"\d{9,11}", text):
        return int(text)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 30m, 2h, 7d, 2026-11-20 or 2026-11-20T08:00.") from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def _convert(hint: object, tokens: Sequence[Token]) -> int:
    return moment_of(tokens[0].value)


#: An option such as `--since 2h`.
Moment = Annotated[int | None, Parameter(converter=_convert, n_tokens=1)]


def shown(moment: int | float | None) -> str | None:
    """Returns a time in UTC, such as 2026-11-26 09:12."""
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # an upstream may count in milliseconds
        return str(moment)


def lasting(seconds: float) -> str:
    """Returns a duration, such as 42 s, 4 min or 1 h 20 min."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
