"""The simulator's own time: the wall clock plus whatever it was told to skip."""

import time
from collections.abc import Callable


class Clock:
    """Seconds since 1970, advanced on demand; pass ``source=lambda: 1.8e9`` for a clock that stands still."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._skipped = 0.0
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        return self._source() + self._skipped

    def advance(self, seconds: float) -> None:
        self._skipped += seconds
        for listener in self._listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)
