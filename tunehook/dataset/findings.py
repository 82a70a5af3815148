"""Findings: counts all, keeps the first of each code, and quotes values in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunehook.dataset.codes import CODES, Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding. `line` counts from 1, None: the whole file; `path`: a JSON path, $.messages[0].role."""

    code: str
    severity: Severity
    line: int | None
    path: str
    message: str
    hint: str


def finding(code: str, line: int | None, path: str, message: str) -> Finding:
    kind = CODES[code]
    return Finding(code, kind.severity, line, path, message, kind.hint)


class Findings:
    """Counts every finding and keeps the first `per_code` of each code."""

    def __init__(self, per_code: int) -> None:
        self.per_code = per_code
        self.counts: dict[str, int] = {}
        self._kept: list[Finding] = []

    def add(self, code: str, line: int | None, path: str, message: str) -> None:
        seen = self.counts.get(code, 0)
        self.counts[code] = seen + 1
        if seen < self.per_code:
            self._kept.append(finding(code, line, path, message))

    def more(self, code: str, n: int) -> None:
        """Counts `n` further findings that need not be listed."""
        if n:
            self.counts[code] = self.counts.get(code, 0) + n

    def listed(self) -> list[Finding]:
        """Returns errors, then warnings, each in the order of the file; findings on the whole file first."""
        return sorted(self._kept, key=lambda f: (f.severity, f.line or 0))


def shown(value: object, width: int = 60) -> str:
    """Returns a value as it is quoted in a message: short, one line, without control characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        kind, part = ("an object", "member") if isinstance(value, dict) else ("a list", "element")
        return (
            f"{kind} of {len(value)} {part}{'' if len(value) == 1 else 's'}" if value else f"{kind} with nothing in it"
        )
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    text = repr(value[: width + 1] if isinstance(value, str) else value)
    return text if len(text) <= width else text[: width - 1] + "…"


def shown_member(of: Mapping[str, Any], key: str) -> str:
    """A member's value as `shown`, or "missing"."""
    return shown(of[key]) if key in of else "missing"


def plural(n: int, word: str) -> str:
    """Returns "1 example", "1,234 examples"."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"
