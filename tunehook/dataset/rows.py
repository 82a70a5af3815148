"""A row of a source that a dataset is made of, and what no example can be made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class CannotBuild(ValueError):
    """The source holds nothing that a dataset could be made of."""


@dataclass(frozen=True, slots=True)
class Row:
    """`value`: an object by column, or [question, answer]. `at`: where it stands, for a person: "row 4", "line 12"."""

    value: Any
    at: str


@dataclass(frozen=True, slots=True)
class Dropped:
    at: str
    why: str
