"""What the doctor says of one member or key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Mend = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Finding:
    """An inconsistency of one member or key. `mend` is None where a person has to decide."""

    kind: str
    subject: str
    words: str
    mend: Mend | None = field(default=None, compare=False)
    grave: bool = True  #: False: worth knowing, but no inconsistency
